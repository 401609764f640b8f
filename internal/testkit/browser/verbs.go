package browser

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// roles that Fill and Click accept, by the names of WAI-ARIA.
var (
	fieldRoles  = map[string]bool{"textbox": true, "searchbox": true, "spinbutton": true, "combobox": true}
	buttonRoles = map[string]bool{"button": true, "link": true, "checkbox": true, "radio": true}
)

// within gives the tab's context the caller's deadline, at most verbTimeout.
func (b *Browser) within(ctx context.Context) (context.Context, context.CancelFunc) {
	tab, cancel := context.WithTimeout(b.ctx, verbTimeout)
	stop := context.AfterFunc(ctx, cancel)
	return tab, func() { stop(); cancel() }
}

// Open types a URL into the address bar and waits until the page has loaded.
func (b *Browser) Open(ctx context.Context, url string) error {
	tab, cancel := b.within(ctx)
	defer cancel()
	if err := chromedp.Do(tab, chromedp.Navigate(url)); err != nil {
		return fmt.Errorf("browser: open %s: %w", url, err)
	}
	return nil
}

// Fill types text into the one field whose accessible name is name, in place
// of what it held. It waits for the field.
func (b *Browser) Fill(ctx context.Context, name, text string) error {
	tab, cancel := b.within(ctx)
	defer cancel()
	var at point
	err := b.retry(tab, func() (err error) {
		at, err = b.locate(tab, name, fieldRoles, -1)
		return err
	})
	if err == nil {
		// Three presses select what the field holds.
		err = chromedp.Do(tab, chromedp.MouseClickXY(at.x, at.y, chromedp.ClickCount(3)))
	}
	if err == nil {
		_, err = chromedp.Call(tab, input.InsertText, input.InsertTextParams{Text: text})
	}
	if err != nil {
		return b.fail(ctx, fmt.Sprintf("fill %q", name), err)
	}
	return nil
}

// Click presses the one button or link whose accessible name is name with the
// mouse. It waits for the control, not for what the press causes.
func (b *Browser) Click(ctx context.Context, name string) error {
	return b.ClickNth(ctx, name, -1)
}

// ClickNth presses the nth (from 0, in the order of the page) of several
// controls with the same accessible name; n < 0 wants exactly one.
func (b *Browser) ClickNth(ctx context.Context, name string, n int) error {
	tab, cancel := b.within(ctx)
	defer cancel()
	var at point
	err := b.retry(tab, func() (err error) {
		at, err = b.locate(tab, name, buttonRoles, n)
		return err
	})
	if err == nil {
		err = chromedp.Do(tab, chromedp.MouseClickXY(at.x, at.y))
	}
	if err != nil {
		return b.fail(ctx, fmt.Sprintf("click %q", name), err)
	}
	return nil
}

// Count returns how many controls have the accessible name now. It does not
// wait for one, but for a page to be there.
func (b *Browser) Count(ctx context.Context, name string) (n int, err error) {
	tab, cancel := b.within(ctx)
	defer cancel()
	err = b.retry(tab, func() error {
		fields, err := b.named(tab, name, fieldRoles)
		if err != nil {
			return err
		}
		buttons, err := b.named(tab, name, buttonRoles)
		n = len(fields) + len(buttons)
		return err
	})
	if err != nil {
		return 0, b.fail(ctx, fmt.Sprintf("count %q", name), err)
	}
	return n, nil
}

// WaitText waits until the page shows the text, in any letter case and with
// any white space.
func (b *Browser) WaitText(ctx context.Context, text string) error {
	tab, cancel := b.within(ctx)
	defer cancel()
	want := squash(text)
	err := b.retry(tab, func() error {
		have, err := pageText(tab)
		if err != nil {
			return err
		}
		if !strings.Contains(squash(have), want) {
			return ErrNotFound
		}
		return nil
	})
	if err != nil {
		return b.fail(ctx, fmt.Sprintf("wait for text %q", text), err)
	}
	return nil
}

// WaitURL waits until ok accepts the URL that the address bar shows.
func (b *Browser) WaitURL(ctx context.Context, ok func(*url.URL) bool) error {
	tab, cancel := b.within(ctx)
	defer cancel()
	err := b.retry(tab, func() error {
		loc, err := chromedp.Run(tab, chromedp.Location())
		if err != nil {
			return err
		}
		u, err := url.Parse(loc)
		if err != nil {
			return err
		}
		if !ok(u) {
			return ErrNotFound
		}
		return nil
	})
	if err != nil {
		return b.fail(ctx, "wait for a URL", err)
	}
	return nil
}

// URL returns what the address bar shows now.
func (b *Browser) URL(ctx context.Context) (string, error) {
	tab, cancel := b.within(ctx)
	defer cancel()
	return chromedp.Run(tab, chromedp.Location())
}

// Text returns the text that the page shows now.
func (b *Browser) Text(ctx context.Context) (string, error) {
	tab, cancel := b.within(ctx)
	defer cancel()
	return pageText(tab)
}

// Eval runs an expression in the page and returns its value, which must be a
// string. It is for attacks on a page, never for pressing its buttons.
func (b *Browser) Eval(ctx context.Context, expression string) (string, error) {
	tab, cancel := b.within(ctx)
	defer cancel()
	return chromedp.Run(tab, chromedp.Evaluate[string](expression))
}

// Screenshot writes what the window shows to path as PNG, at width × height
// CSS pixels; zeros mean the window's own size.
func (b *Browser) Screenshot(ctx context.Context, path string, width, height int) error {
	tab, cancel := b.within(ctx)
	defer cancel()
	if width > 0 && height > 0 {
		if err := chromedp.Do(tab, chromedp.EmulateViewport(int64(width), int64(height))); err != nil {
			return fmt.Errorf("browser: viewport: %w", err)
		}
	}
	png, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
	if err != nil {
		return fmt.Errorf("browser: screenshot: %w", err)
	}
	return os.WriteFile(path, png, 0o644)
}

// retry repeats f until it works or the context ends. Between two pages every
// question may fail, so every error is worth another try until then.
func (b *Browser) retry(ctx context.Context, f func() error) error {
	var last error
	for {
		err := f()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil && last != nil {
			return last // the try that the end cut off says nothing
		}
		last = err
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// fail adds what the page looked like, so that a failed test tells its story.
func (b *Browser) fail(ctx context.Context, verb string, err error) error {
	if ctx.Err() != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrAmbiguous) {
		err = errors.Join(ctx.Err(), err)
	}
	look, cancel := context.WithTimeout(b.ctx, 2*time.Second)
	defer cancel()
	loc, _ := chromedp.Run(look, chromedp.Location())
	text, _ := pageText(look)
	return fmt.Errorf("browser: %s: %w; at %s, which says %q", verb, err, loc, squash(text))
}

func pageText(ctx context.Context) (string, error) {
	return chromedp.Run(ctx, chromedp.Evaluate[string](`document.body ? document.body.innerText : ""`))
}

func squash(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), " ")) }

// point is a place in the window, in CSS pixels.
type point struct{ x, y float64 }

// locate brings the control with the accessible name and one of the roles into
// view and says where its middle is: the nth of several, or with n < 0 the
// only one. It has no effect that a second try could double.
func (b *Browser) locate(ctx context.Context, name string, roles map[string]bool, n int) (point, error) {
	ids, err := b.named(ctx, name, roles)
	switch {
	case err != nil:
		return point{}, err
	case len(ids) == 0 || n >= len(ids):
		return point{}, ErrNotFound
	case n < 0 && len(ids) > 1:
		return point{}, ErrAmbiguous
	}
	id := ids[max(n, 0)]
	if _, err := chromedp.Call(ctx, dom.ScrollIntoViewIfNeeded, dom.ScrollIntoViewIfNeededParams{BackendNodeID: id}); err != nil {
		return point{}, err
	}
	quads, err := chromedp.Call(ctx, dom.GetContentQuads, dom.GetContentQuadsParams{BackendNodeID: id})
	if err != nil {
		return point{}, err
	}
	if len(quads.Quads) == 0 || len(quads.Quads[0]) != 8 {
		return point{}, errors.New("browser: the control has no place on the page")
	}
	q := quads.Quads[0]
	return point{(q[0] + q[2] + q[4] + q[6]) / 4, (q[1] + q[3] + q[5] + q[7]) / 4}, nil
}

// named asks Chromium's accessibility tree, which computes names as a screen
// reader would hear them.
func (b *Browser) named(ctx context.Context, name string, roles map[string]bool) ([]cdp.BackendNodeID, error) {
	doc, err := chromedp.Call(ctx, dom.GetDocument, dom.GetDocumentParams{})
	if err != nil {
		return nil, err
	}
	query := accessibility.QueryAXTreeParams{NodeID: doc.Root.NodeID, AccessibleName: name}
	tree, err := chromedp.Call(ctx, accessibility.QueryAXTree, query)
	if err != nil {
		return nil, err
	}
	var ids []cdp.BackendNodeID
	for _, n := range tree.Nodes {
		if n.Ignored || n.Role == nil || n.BackendDOMNodeID == 0 {
			continue
		}
		if roles[strings.Trim(string(n.Role.Value), `"`)] {
			ids = append(ids, n.BackendDOMNodeID)
		}
	}
	return ids, nil
}
