package agent

// Surroundings says what makes this machine a container, and what makes this a
// CI job, in words; empty where nothing does. A store that would outlive either is
// not chosen there.
func Surroundings(getenv func(string) string) (container, ci string) {
	for _, name := range []string{"CI", "GITHUB_ACTIONS", "GITLAB_CI"} {
		if ci == "" && set(getenv(name)) {
			ci = name + " is set"
		}
	}
	for _, name := range []string{"container", "KUBERNETES_SERVICE_HOST"} {
		if container == "" && getenv(name) != "" {
			container = name + " is set"
		}
	}
	if container == "" {
		container = here().container
	}
	return container, ci
}
