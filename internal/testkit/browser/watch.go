package browser

import (
	"slices"
	"strings"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// watch records what a person or their history could have seen.
func (b *Browser) watch() error {
	return chromedp.Listen(b.ctx, func(ev any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch ev := ev.(type) {
		case *page.EventFrameNavigated:
			if ev.Frame.ParentID == "" {
				b.urls = append(b.urls, ev.Frame.URL+ev.Frame.URLFragment)
			}
		case *page.EventNavigatedWithinDocument:
			b.urls = append(b.urls, ev.URL)
		case *network.EventRequestWillBeSent:
			if ev.Type == network.ResourceTypeDocument {
				b.requests = append(b.requests, ev.Request.Method+" "+ev.Request.URL+ev.Request.URLFragment)
			}
		case *log.EventEntryAdded:
			b.console = append(b.console, string(ev.Entry.Level)+": "+ev.Entry.Text+" "+ev.Entry.URL)
		case *runtime.EventConsoleAPICalled:
			b.console = append(b.console, string(ev.Type)+": "+consoleText(ev.Args))
		case *runtime.EventExceptionThrown:
			b.console = append(b.console, "exception: "+ev.ExceptionDetails.Text)
		}
	})
}

func consoleText(args []*runtime.RemoteObject) string {
	parts := make([]string, 0, len(args))
	for _, a := range args {
		if a.Description != "" {
			parts = append(parts, a.Description)
			continue
		}
		parts = append(parts, strings.Trim(string(a.Value), `"`))
	}
	return strings.Join(parts, " ")
}

// URLs returns every URL that the address bar settled on, oldest first: what
// the history keeps and what a person could copy.
func (b *Browser) URLs() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.urls)
}

// Requests returns every document request of the tab as "METHOD URL", oldest
// first. Unlike URLs it also has the steps of a redirect, which flash by in
// the address bar while they load.
func (b *Browser) Requests() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.requests)
}

// Shown returns every URL that the address bar ever showed, be it settled or
// in passing, each once and in no useful order. It is what somebody could be
// talked into pasting.
func (b *Browser) Shown() []string {
	all := b.URLs()
	for _, r := range b.Requests() {
		_, u, _ := strings.Cut(r, " ")
		all = append(all, u)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Console returns the messages of the page's console, violations of a content
// security policy and warnings about mixed content among them.
func (b *Browser) Console() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.console)
}
