package oauthclienttest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
)

// Register says how registration goes (RFC 7591).
type Register struct {
	Token      string // initial access token that is wanted; empty: none
	WithSecret bool   // makes clients that must show a secret
}

// Registrations gives what clients said of themselves, in turn. The n-th, from 1
// on, has the client_id client-n.
func (s *Server) Registrations() []map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.clients)
}

// ForgetClients makes every registration one that the server does not know.
func (s *Server) ForgetClients() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.clients {
		s.clients[i] = nil
	}
}

func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	if s.Register == nil {
		http.NotFound(w, r)
		return
	}
	if s.Register.Token != "" && r.Header.Get("Authorization") != "Bearer "+s.Register.Token {
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	m := map[string]any{}
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		fail(w, http.StatusBadRequest, "invalid_client_metadata")
		return
	}
	s.mu.Lock()
	s.clients = append(s.clients, m)
	out := map[string]any{
		"client_id": fmt.Sprintf("client-%d", len(s.clients)), "client_id_issued_at": 1,
		"registration_access_token": s.mint("registration"), "registration_client_uri": s.Issuer + "/clients/1",
	}
	s.mu.Unlock()
	for k, v := range m {
		out[k] = v
	}
	if s.Register.WithSecret {
		out["client_secret"], out["token_endpoint_auth_method"] = s.secret("client secret"), "client_secret_basic"
	}
	writeJSON(w, http.StatusCreated, out)
}

func (s *Server) secret(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mint(name)
}

// knows says whether a request's client is one that registered. ok is false when
// it has answered.
func (s *Server) knows(w http.ResponseWriter, r *http.Request) bool {
	if s.Register == nil || s.Handshake {
		return true
	}
	id := s.values(r).Get("client_id")
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, m := range s.clients {
		if m != nil && id == fmt.Sprintf("client-%d", i+1) {
			return true
		}
	}
	fail(w, http.StatusUnauthorized, "invalid_client")
	return false
}
