package stage

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/keytether/keytether/internal/testkit"
)

// Machine is a computer: a home and an agent of its own.
type Machine struct {
	Home   testkit.Home
	Agent  *testkit.Process // nil unless StartAgent started it
	issuer string
	bin    string
}

// NewMachine makes another computer that finds the stage's servers. Its agent
// ends with the stage.
func (s *Stage) NewMachine(name string) (*Machine, error) {
	dir := filepath.Join(s.Dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	home, err := testkit.NewHome(dir, s.env...)
	if err != nil {
		return nil, err
	}
	m := &Machine{Home: home, issuer: s.Issuer, bin: filepath.Join(s.bin, "keytether")}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machines = append(s.machines, m)
	return m, nil
}

// Command prepares the keytether command on this machine. Further variables of
// its environment can be appended to Env.
func (m *Machine) Command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, m.bin, args...)
	c.Env = append([]string{}, m.Home.Env...)
	c.Dir = m.Home.Dir
	return c
}

// Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Run runs keytether and waits for it.
func (m *Machine) Run(ctx context.Context, args ...string) (Result, error) {
	c := m.Command(ctx, args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return Result{out.String(), errs.String(), c.ProcessState.ExitCode()}, err
}

// StartAgent starts the agent by hand, with a log that says all there is to
// say, on its standard error. Otherwise the first login starts one.
func (m *Machine) StartAgent(ctx context.Context) (*testkit.Process, error) {
	p, err := testkit.StartProcess(testkit.Command{Path: m.bin, Args: []string{"agent", "run", "-v"}, Env: m.Home.Env, Dir: m.Home.Dir})
	if err != nil {
		return nil, err
	}
	m.Agent = p
	for {
		r, err := m.Run(ctx, "agent", "status")
		if err != nil {
			return p, err
		}
		if r.Code == 0 {
			return p, nil
		}
		select {
		case <-p.Done():
			return p, errors.New("stage: the agent ended at once: " + p.Stderr())
		case <-ctx.Done():
			return p, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (m *Machine) close(ctx context.Context) error {
	end, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := m.Run(end, "agent", "stop")
	if m.Agent != nil {
		err = errors.Join(err, ignoreSignal(m.Agent.Stop(end)))
	}
	return err
}
