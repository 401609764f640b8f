package stores

// Facts is what the choice depends on. Whoever calls looks them up.
type Facts struct {
	GOOS      string // as runtime.GOOS
	Container string // what says that this is a container, such as "/.dockerenv"; empty if none does
	CI        string // what says that this is a CI job, such as "CI"; empty if none does
	TPM       bool   // there is a TPM 2.0 device here, such as /dev/tpmrm0
}

// Choice says of one kind whether it is tried, and why or why not, in words for a person.
type Choice struct {
	Name string
	Use  bool
	Why  string
}

// Auto gives all kinds in the order in which they are tried. That a kind is tried does not mean
// that it works here: its Open says.
func Auto(f Facts) []Choice {
	tpm := Choice{"tpm", f.TPM, "the proof key is made in the TPM and cannot leave it"}
	if !tpm.Use {
		tpm.Why = "there is no TPM here"
	}
	keychain := Choice{"keychain", true, "the operating system guards it with the sign-in"}
	kernel := Choice{"kernel", f.GOOS == "linux", "in the kernel's memory, gone when the machine stops"}
	if !kernel.Use {
		kernel.Why = "only Linux has a kernel keyring"
	}
	file := Choice{"file", f.TPM, "sealed, with a key that is not in the file"}
	if !file.Use {
		file.Why = "there is no TPM to seal it with, and a passphrase is asked for only where this store is named"
	}
	memory := Choice{"memory", true, "always works, and is gone with the agent"}

	outlives := ""
	switch {
	case f.Container != "":
		outlives = "this is a container (" + f.Container + "), and what it stores must not outlive it"
	case f.CI != "":
		outlives = "this is a CI job (" + f.CI + "), and what it stores must not outlive it"
	}
	choices := []Choice{tpm, keychain, kernel, file, memory}
	if outlives == "" {
		return choices
	}
	for i := range choices {
		if choices[i].Name != "memory" && choices[i].Use {
			choices[i].Use, choices[i].Why = false, outlives
		}
	}
	return choices
}
