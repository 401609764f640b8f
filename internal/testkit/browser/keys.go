package browser

import (
	"context"
	"fmt"

	"github.com/chromedp/chromedp"
)

// Press presses keys one after another on whatever has the focus: text, "\t"
// for Tab and "\r" for Enter.
func (b *Browser) Press(ctx context.Context, keys string) error {
	tab, cancel := b.within(ctx)
	defer cancel()
	if err := chromedp.Do(tab, chromedp.KeyEvent(keys)); err != nil {
		return b.fail(ctx, fmt.Sprintf("press %q", keys), err)
	}
	return nil
}

// Resize makes the page's window width × height CSS pixels, narrower too than
// Chromium's own window can be.
func (b *Browser) Resize(ctx context.Context, width, height int) error {
	tab, cancel := b.within(ctx)
	defer cancel()
	if err := chromedp.Do(tab, chromedp.EmulateViewport(int64(width), int64(height))); err != nil {
		return fmt.Errorf("browser: viewport: %w", err)
	}
	return nil
}
