package oauthclient

// stranger reports whether a connection to the listener comes from another
// user's process. The start link stands in the browser's arguments for a moment,
// where every user of the machine can read it: who opens it first would sign in
// in the person's place. Root may do anything anyway, and relays between
// systems (WSL) run as root; who runs the tool as root has a browser of another
// user. Where the system does not tell, nobody is refused.
func stranger(own, peer int, known bool) bool {
	return known && peer != own && peer != 0 && own != 0
}
