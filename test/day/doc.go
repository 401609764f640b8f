// Package day plays a day of a developer on one machine: logins, a hundred calls from
// four Python processes while tokens end, exec, git, pip, the proxy, an agent that is
// killed, and the logout, with everything logging all it can. Then it looks for every
// secret that the server issued: on disk, in what was logged, in arguments and in
// environments, by a plain search and by `keytether scan`.
package day
