// Command quickstart calls an API as the person who is logged in, in as few lines as
// that takes.
package main

import (
	"io"
	"log"
	"net/http"
	"os"

	"github.com/keytether/keytether/login"
)

func main() {
	c, err := login.New(login.Options{Resource: "http://127.0.0.1:8431"})
	if err != nil {
		log.Fatal(err)
	}
	api := &http.Client{Transport: c.RoundTripper(nil)}
	res, err := api.Get("http://127.0.0.1:8431/reports")
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(os.Stdout, res.Body)
}
