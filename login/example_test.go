package login_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/keytether/keytether/login"
)

// A program calls an API as the person who is logged in. The agent and the API of this example
// are stand-ins; only the resource is the program's own to say.
func Example() {
	agent, api := demo()
	defer agent.Close()
	defer api.Close()

	c, err := login.New(login.Options{Resource: api.URL, Socket: agent.Socket})
	if err != nil {
		log.Fatal(err)
	}
	client := &http.Client{Transport: c.RoundTripper(nil)}
	res, err := client.Get(api.URL + "/reports")
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	fmt.Println(res.StatusCode, string(body))
	// Output: 200 3 reports
}

// A token for a program that can only take a token. It does not show itself by accident.
func ExampleClient_Token() {
	agent, api := demo()
	defer agent.Close()
	defer api.Close()

	c, err := login.New(login.Options{Resource: api.URL, Socket: agent.Socket})
	if err != nil {
		log.Fatal(err)
	}
	t, err := c.Token(context.Background())
	if errors.Is(err, login.ErrNotLoggedIn) {
		fmt.Println("run: keytether login")
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(t.Type, t.Access, len(t.Access.Reveal()) > 0)
	// Output: DPoP [redacted] true
}

// Nobody is logged in, and the error says what to do.
func ExampleError() {
	c, err := login.New(login.Options{Socket: "/nonexistent/keytether/agent.sock"})
	if err != nil {
		log.Fatal(err)
	}
	_, err = c.Whoami(context.Background())
	fmt.Println(errors.Is(err, login.ErrNotLoggedIn))
	fmt.Println(err)
	// Output:
	// true
	// you are not logged in: no agent is running, and only an agent holds a login. Run `keytether login`
}

// A program logs its person in itself.
func ExampleClient_Login() {
	agent, api := demo()
	defer agent.Close()
	defer api.Close()

	c, err := login.New(login.Options{Resource: api.URL, Socket: agent.Socket})
	if err != nil {
		log.Fatal(err)
	}
	who, err := c.Login(context.Background(), login.LoginOptions{
		Issuer: "https://auth.example.test",
		Opener: func(_ context.Context, url string) error { return nil }, // open url in a browser
	}, func(e login.Event) {
		switch e.Kind {
		case login.EventBrowser:
			fmt.Println("sign in at", e.URL)
		case login.EventDeviceCode:
			fmt.Println("open", e.URL, "on any device and enter", e.UserCode)
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("logged in as", who.Username)
	// Output:
	// sign in at http://127.0.0.1:40123/start/made-up
	// logged in as person@example.test
}

// demo starts a stand-in agent, and an API that wants a bound token with its proof.
func demo() (*fakeAgent, *httptest.Server) {
	agent, err := startFake()
	if err != nil {
		log.Fatal(err)
	}
	agent.events = loginEvents()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "DPoP made-up-token" || r.Header.Get("DPoP") == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "3 reports")
	}))
	return agent, api
}
