package driver

import (
	"net/url"
	"strings"

	"golang.org/x/net/html"
)

// Form is a form of a page.
type Form struct {
	Action  string
	Hidden  url.Values
	Fields  map[string]string // label → name
	Buttons map[string][2]string
	page    string
}

// Has reports whether the form has a field with a label.
func (f Form) Has(label string) bool { _, ok := f.Fields[label]; return ok }

// HasButton reports whether the form has a button with a text.
func (f Form) HasButton(text string) bool { _, ok := f.Buttons[text]; return ok }

func (f Form) values(button string, fields map[string]string) url.Values {
	out := url.Values{}
	for k, v := range f.Hidden {
		out[k] = v
	}
	for label, v := range fields {
		out.Set(f.Fields[label], v)
	}
	if b := f.Buttons[button]; b[0] != "" {
		out.Set(b[0], b[1])
	}
	return out
}

// parseForms finds the forms of a page with their labels and buttons.
func parseForms(base *url.URL, page string) ([]Form, error) {
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		return nil, err
	}
	labels := map[string]string{} // id → text
	walk(root, func(n *html.Node) {
		if n.Data == "label" {
			labels[attr(n, "for")] = text(n)
		}
	})
	var forms []Form
	walk(root, func(n *html.Node) {
		if n.Data != "form" {
			return
		}
		f := Form{Hidden: url.Values{}, Fields: map[string]string{}, Buttons: map[string][2]string{}, page: base.String()}
		if u, err := base.Parse(attr(n, "action")); err == nil {
			f.Action = u.String()
		}
		walk(n, func(c *html.Node) {
			switch {
			case c.Data == "input" && attr(c, "type") == "hidden":
				f.Hidden.Add(attr(c, "name"), attr(c, "value"))
			case c.Data == "input" && labels[attr(c, "id")] != "":
				f.Fields[labels[attr(c, "id")]] = attr(c, "name")
			case c.Data == "button":
				f.Buttons[text(c)] = [2]string{attr(c, "name"), attr(c, "value")}
			}
		})
		forms = append(forms, f)
	})
	return forms, nil
}

func walk(n *html.Node, f func(*html.Node)) {
	if n.Type == html.ElementNode {
		f(n)
	}
	for c := range n.ChildNodes() {
		walk(c, f)
	}
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func text(n *html.Node) string {
	var b strings.Builder
	var collect func(*html.Node)
	collect = func(n *html.Node) {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
		}
		for c := range n.ChildNodes() {
			collect(c)
		}
	}
	collect(n)
	return strings.Join(strings.Fields(b.String()), " ")
}
