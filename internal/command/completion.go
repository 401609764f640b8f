package command

import (
	"io"

	"github.com/spf13/cobra"
)

func (a *app) completionCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print the completion script of a shell",
		Long: `Prints a script that completes keytether's commands and flags. Load it from your shell's start-up
file, or write it to where your shell looks for completions.`,
		Example: `  source <(keytether completion bash)
  keytether completion zsh >"${fpath[1]}/_keytether"
  keytether completion fish >~/.config/fish/completions/keytether.fish
  keytether completion powershell | Out-String | Invoke-Expression`,
		Args:      exactly(1, "a shell: bash, zsh, fish or powershell"),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(c *cobra.Command, args []string) error {
			root := c.Root()
			write := map[string]func(io.Writer) error{
				"bash":       func(w io.Writer) error { return root.GenBashCompletionV2(w, true) },
				"zsh":        root.GenZshCompletion,
				"fish":       func(w io.Writer) error { return root.GenFishCompletion(w, true) },
				"powershell": root.GenPowerShellCompletionWithDesc,
			}[args[0]]
			if write == nil {
				return usage("there is no completion for "+quote(args[0]), "Use bash, zsh, fish or powershell")
			}
			return said(0, write(a.Stdout))
		},
	}
}
