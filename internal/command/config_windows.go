package command

// userConfigDir is the roaming application data folder.
func userConfigDir(getenv func(string) string) (string, error) {
	if dir := getenv("APPDATA"); dir != "" {
		return dir, nil
	}
	return "", errNoHome
}
