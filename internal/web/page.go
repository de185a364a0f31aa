package web

import (
	_ "embed" // for the page
	"net/http"
)

// The page: no build step, nothing from elsewhere.
var (
	//go:embed static/index.html
	indexHTML []byte
	//go:embed static/page.css
	pageCSS []byte
	//go:embed static/page.js
	pageJS []byte
	//go:embed static/heat.js
	heatJS []byte
	//go:embed static/chart.js
	chartJS []byte
	//go:embed static/icon.svg
	iconSVG []byte
)

type pageFile struct {
	kind string
	data []byte
}

var pageFiles = map[string]pageFile{
	"/{$}":      {"text/html; charset=utf-8", indexHTML},
	"/page.css": {"text/css; charset=utf-8", pageCSS},
	"/page.js":  {"text/javascript; charset=utf-8", pageJS},
	"/heat.js":  {"text/javascript; charset=utf-8", heatJS},
	"/chart.js": {"text/javascript; charset=utf-8", chartJS},
	"/icon.svg": {"image/svg+xml", iconSVG},
}

func (f pageFile) serve(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", f.kind)
	_, _ = w.Write(f.data)
}
