package keychain

import (
	"fmt"
	"slices"
	"strings"
)

// A page of the index is an item index.0, index.1, … up to the first that is missing: a line "1",
// the version, and a line per name. Names do not move between pages, so that no crash loses one.
type page []string

const (
	pageVersion = "1"
	maxPage     = 1500 // bytes; with base64 below the least that any keychain takes
)

func pageName(i int) string { return fmt.Sprintf("index.%d", i) }

func (p page) text() []byte {
	return []byte(pageVersion + "\n" + strings.Join(p, "\n"))
}

// parsePage gives no names for what is not a page.
func parsePage(raw []byte) page {
	first, rest, _ := strings.Cut(string(raw), "\n")
	if first != pageVersion || rest == "" {
		return nil
	}
	return strings.Split(rest, "\n")
}

func (t *tx) load() error {
	if t.pages != nil {
		return nil
	}
	pages := []page{}
	for i := 0; ; i++ {
		raw, err := t.read(pageName(i))
		if err != nil {
			return err
		}
		if raw == nil {
			t.pages = pages
			return nil
		}
		pages = append(pages, parsePage(raw))
	}
}

// IDs gives the names of the index.
func (t *tx) IDs() ([]string, error) {
	if err := t.load(); err != nil {
		return nil, err
	}
	return slices.Concat(t.pages...), nil
}

func (t *tx) list(id string) error {
	if err := t.load(); err != nil {
		return err
	}
	at := len(t.pages)
	for i, p := range t.pages {
		if slices.Contains(p, id) {
			return nil
		}
		if at == len(t.pages) && len(p.text())+1+len(id) <= maxPage {
			at = i
		}
	}
	var p page
	if at < len(t.pages) {
		p = t.pages[at]
	}
	return t.setPage(at, append(slices.Clone(p), id))
}

func (t *tx) unlist(id string) error {
	if err := t.load(); err != nil {
		return err
	}
	for i, p := range t.pages {
		if at := slices.Index(p, id); at >= 0 {
			return t.setPage(i, slices.Delete(slices.Clone(p), at, at+1))
		}
	}
	return nil
}

// setPage writes a page. The last ones are taken away when they are empty.
func (t *tx) setPage(i int, p page) error {
	if len(p) == 0 && i == len(t.pages)-1 {
		for i >= 0 && (i == len(t.pages)-1) && (len(p) == 0) {
			if err := t.remove(pageName(i)); err != nil {
				return err
			}
			t.pages = t.pages[:i]
			i--
			if i >= 0 {
				p = t.pages[i]
			}
		}
		return nil
	}
	if err := t.write(pageName(i), p.text()); err != nil {
		return err
	}
	if i == len(t.pages) {
		t.pages = append(t.pages, p)
	} else {
		t.pages[i] = p
	}
	return nil
}
