package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/keytether/keytether/internal/agentwire"
)

// wrongWait is how long the agent looks at no passphrase after a wrong one, and then some.
const wrongWait = 1100 * time.Millisecond

// passphraseLine reads the first line of standard input, for that flag.
func (a *app) passphraseLine(flag string) (agentwire.Secret, error) {
	holdsToken()
	line, err := bufio.NewReader(io.LimitReader(a.Stdin, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return agentwire.Secret{}, fail("the passphrase could not be read", cause(err), "")
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return agentwire.Secret{}, usage("standard input holds no passphrase", "Write it there, or leave "+flag+" out")
	}
	return agentwire.NewSecret(line), nil
}

// openStore opens the sealed store with a passphrase: the one given, else one that is asked for on
// the terminal. wanted is the agent's word on which it wants; without a terminal it is the answer.
func (a *app) openStore(ctx context.Context, agent *agentwire.Client, given agentwire.Secret, wanted error) error {
	fresh := errors.Is(wanted, agentwire.NewPassphraseWanted)
	if !given.IsZero() {
		return agent.UnlockStore(ctx, agentwire.UnlockStoreRequest{Passphrase: given, New: fresh})
	}
	if a.json || !isTerminal(a.Stdin) || !isTerminal(a.Stderr) {
		return wanted
	}
	holdsToken()
	for try := 1; ; try++ {
		pass, err := a.askPassphrase(ctx, fresh)
		if err == nil {
			err = agent.UnlockStore(ctx, agentwire.UnlockStoreRequest{Passphrase: pass, New: fresh})
		}
		again := errors.Is(err, agentwire.PassphraseWanted) && !fresh || errors.Is(err, agentwire.NewPassphraseWanted) && fresh
		if !again || try == 3 {
			return err
		}
		writeError(a.Stderr, describe(err), a.colour(a.Stderr))
		if !fresh {
			select {
			case <-time.After(wrongWait):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}

// askPassphrase asks once, or twice for a new one.
func (a *app) askPassphrase(ctx context.Context, fresh bool) (agentwire.Secret, error) {
	if !fresh {
		return a.readHidden(ctx, "Passphrase of the sealed store: ")
	}
	_, _ = fmt.Fprintln(a.Stderr, "Your logins will be kept in a file that is sealed with a passphrase. Whoever has the file can try\n"+
		"as long as they like: take four or more words that do not belong together. Nobody can restore it.")
	first, err := a.readHidden(ctx, "New passphrase: ")
	if err != nil {
		return first, err
	}
	second, err := a.readHidden(ctx, "The same again: ")
	if err == nil && !first.Equal(second) {
		err = agentwire.NewError(agentwire.NewPassphraseWanted, "the store was not made", "the two passphrases are not the same", "Type it again", nil)
	}
	return first, err
}

// readHidden reads a line that the terminal does not show. Ctrl-C gives the terminal back as it was.
func (a *app) readHidden(ctx context.Context, prompt string) (agentwire.Secret, error) {
	f, ok := a.Stdin.(*os.File)
	if !ok {
		return agentwire.Secret{}, usage("there is no terminal to ask at", "")
	}
	before, err := term.GetState(int(f.Fd()))
	if err != nil {
		return agentwire.Secret{}, fail("the passphrase could not be read", err, "")
	}
	if _, err := io.WriteString(a.Stderr, prompt); err != nil {
		return agentwire.Secret{}, said(0, err)
	}
	type answer struct {
		line []byte
		err  error
	}
	read := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(int(f.Fd()))
		read <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		_ = term.Restore(int(f.Fd()), before)
		_, _ = fmt.Fprintln(a.Stderr)
		return agentwire.Secret{}, context.Cause(ctx)
	case got := <-read:
		_, _ = fmt.Fprintln(a.Stderr)
		defer clear(got.line)
		switch {
		case got.err != nil && !errors.Is(got.err, io.EOF):
			return agentwire.Secret{}, fail("the passphrase could not be read", got.err, "")
		case len(got.line) == 0:
			return agentwire.Secret{}, agentwire.NewError(agentwire.Denied, "the store was not opened", "no passphrase was typed", "", nil)
		}
		return agentwire.NewSecret(string(got.line)), nil
	}
}

// unlockStore opens the sealed store, on a terminal or with the passphrase on standard input.
func (a *app) unlockStore(ctx context.Context, stdin bool) (err error) {
	ctx, stop := interruptible(ctx)
	defer stop()
	defer func() { err = cancelled(ctx, err) }()
	var given agentwire.Secret
	if stdin && !isTerminal(a.Stdin) { // a terminal shows what is read so, and openStore's does not
		if given, err = a.passphraseLine("--passphrase-stdin"); err != nil {
			return err
		}
	}
	agent, err := a.agent(ctx)
	if err != nil {
		return err
	}
	// Without a passphrase the agent says whether one is wanted.
	err = agent.UnlockStore(ctx, agentwire.UnlockStoreRequest{})
	if err == nil {
		return a.println("The store file is open.")
	}
	if !errors.Is(err, agentwire.PassphraseWanted) {
		return err
	}
	if err := a.openStore(ctx, agent, given, err); err != nil {
		return err
	}
	return a.println("Unlocked the store file.")
}
