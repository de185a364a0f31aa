// Package webtest drives a headless Chromium for tests of the page, by its debugging protocol over a pipe.
package webtest

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"
)

// limit bounds each wait; a loaded machine takes seconds to start a browser.
const limit = 3 * time.Minute

// Find gives the path of Chromium, and skips the test with a line that says so where there is none.
func Find(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("chromium is not installed (apt install chromium)")
	return ""
}

// Page is one page of a browser that ends with the test. It is for one goroutine.
type Page struct {
	t       testing.TB
	in      *os.File
	out     chan reply
	session string
	next    atomic.Int64
}

type reply struct {
	ID     int64           `json:"id"`
	Method string          `json:"method"`
	Result json.RawMessage `json:"result"`
	Params json.RawMessage `json:"params"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// View is how a page is looked at.
type View struct {
	Width, Height int
	Mobile, Dark  bool
	Scale         float64 // device pixels to one of CSS; 0 is 1
}

// Open starts a browser with an empty page.
func Open(t testing.TB) *Page {
	t.Helper()
	path := Find(t)
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-proxy-server",
		"--user-data-dir="+t.TempDir(), "--remote-debugging-pipe", "about:blank")
	fromUs, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, fromIt, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{fromUs, fromIt} // descriptors 3 and 4, which --remote-debugging-pipe uses
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = fromUs.Close()
	_ = fromIt.Close()
	p := &Page{t: t, in: in, out: make(chan reply, 1024)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.read(out)
	}()
	t.Cleanup(func() {
		p.send("", "Browser.close", nil)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = cmd.Wait()
		}()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		_ = in.Close()
		_ = out.Close()
		<-done
	})
	var target struct{ TargetID string }
	p.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	p.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	p.session = attached.SessionID
	p.call(p.session, "Page.enable", nil, nil)
	p.call(p.session, "Runtime.enable", nil, nil)
	p.call(p.session, "Log.enable", nil, nil)
	p.call(p.session, "Network.enable", nil, nil)
	return p
}

// read takes messages, which end with a zero byte, until the browser ends.
func (p *Page) read(f io.Reader) {
	defer close(p.out)
	r := bufio.NewReader(f)
	for {
		b, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m reply
		if json.Unmarshal(b[:len(b)-1], &m) != nil || m.ID == 0 && !told[m.Method] {
			continue
		}
		p.out <- m
	}
}

// told are the events that a test is told of: each is a complaint of the browser.
var told = map[string]bool{"Runtime.exceptionThrown": true, "Log.entryAdded": true}

func (p *Page) send(session, method string, params any) int64 {
	id := p.next.Add(1)
	m := map[string]any{"id": id, "method": method}
	if params != nil {
		m["params"] = params
	}
	if session != "" {
		m["sessionId"] = session
	}
	b, err := json.Marshal(m)
	if err != nil {
		p.t.Fatal(err)
	}
	_, _ = p.in.Write(append(b, 0)) // if the browser is gone, await reports it
	return id
}

func (p *Page) call(session, method string, params, result any) {
	p.t.Helper()
	id := p.send(session, method, params)
	m, err := p.await(id)
	if err == nil && m.Error != nil {
		err = errors.New(m.Error.Message)
	}
	if err == nil && result != nil {
		err = json.Unmarshal(m.Result, result)
	}
	if err != nil {
		p.t.Fatalf("%s: %v", method, err)
	}
}

func (p *Page) await(id int64) (reply, error) {
	t := time.NewTimer(limit)
	defer t.Stop()
	for {
		select {
		case m, ok := <-p.out:
			switch {
			case !ok:
				return reply{}, errors.New("the browser ended")
			case m.ID == id:
				return m, nil
			case m.Method != "":
				p.t.Errorf("the browser complains: %s", m.Params)
			}
		case <-t.C:
			return reply{}, fmt.Errorf("no answer within %s", limit)
		}
	}
}

// Look sets the size and the colours of the page.
func (p *Page) Look(v View) {
	p.t.Helper()
	if v.Scale == 0 {
		v.Scale = 1
	}
	p.call(p.session, "Emulation.setDeviceMetricsOverride", map[string]any{
		"width": v.Width, "height": v.Height, "deviceScaleFactor": v.Scale, "mobile": v.Mobile}, nil)
	scheme := "light"
	if v.Dark {
		scheme = "dark"
	}
	p.call(p.session, "Emulation.setEmulatedMedia", map[string]any{
		"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// Go opens an address.
func (p *Page) Go(url string) {
	p.t.Helper()
	p.call(p.session, "Page.navigate", map[string]any{"url": url}, nil)
}

// Eval runs JavaScript, waits for its promise if it returns one, and stores its value in result, unless that is nil.
func (p *Page) Eval(js string, result any) {
	p.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	p.call(p.session, "Runtime.evaluate", map[string]any{"expression": js, "returnByValue": true, "awaitPromise": true}, &r)
	if e := r.ExceptionDetails; e != nil {
		p.t.Fatalf("%s: %s %s", js, e.Text, e.Exception.Description)
	}
	if result != nil {
		if err := json.Unmarshal(r.Result.Value, result); err != nil {
			p.t.Fatalf("%s: %v: %s", js, err, r.Result.Value)
		}
	}
}

// Until waits until a JavaScript expression is true.
func (p *Page) Until(js string) {
	p.t.Helper()
	for end := time.Now().Add(limit); ; {
		var ok bool
		p.Eval("Boolean("+js+")", &ok)
		if ok {
			return
		}
		if time.Now().After(end) {
			var html string
			p.Eval("document.body.innerText", &html)
			p.t.Fatalf("never true: %s\n%s", js, html)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Screenshot writes a PNG of the visible part of the page, or of the whole page if full, and returns its size in bytes.
func (p *Page) Screenshot(path string, full bool) int {
	p.t.Helper()
	var r struct{ Data string }
	p.call(p.session, "Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": full}, &r)
	b, err := base64.StdEncoding.DecodeString(r.Data)
	if err == nil {
		err = os.WriteFile(path, b, 0o644)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return len(b)
}
