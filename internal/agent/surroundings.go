package agent

import "github.com/keytether/keytether/internal/agentwire"

// Surroundings says what makes this machine a container, and what makes this a
// CI job, in words; empty where nothing does. A store that would outlive either is
// not chosen there.
func Surroundings(getenv func(string) string) (container, ci string) {
	container, ci = told(getenv)
	if container == "" {
		container = here().container
	}
	return container, ci
}

// told is what variables say. Jenkins, Azure Pipelines, TeamCity and CodeBuild do not set CI.
func told(getenv func(string) string) (container, ci string) {
	for _, name := range []string{"CI", "GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL", "TF_BUILD", "TEAMCITY_VERSION", "CODEBUILD_BUILD_ID"} {
		if ci == "" && set(getenv(name)) {
			ci = name + " is set"
		}
	}
	for _, name := range []string{"container", "KUBERNETES_SERVICE_HOST"} {
		if container == "" && getenv(name) != "" {
			container = name + " is set"
		}
	}
	return container, ci
}

// mustNotOutlive says why a login of this caller is kept in nothing that lasts, whatever the agent
// runs in, which may have been started elsewhere; empty if nothing does.
func mustNotOutlive(env agentwire.Env) string {
	container, ci := told(func(name string) string { return env[name] })
	switch {
	case container != "":
		return "the login is made in a container (" + container + "), and what it stores must not outlive it"
	case ci != "":
		return "the login is made in a CI job (" + ci + "), and what it stores must not outlive it"
	}
	return ""
}
