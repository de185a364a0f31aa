package web

import (
	_ "embed" // for the page
	"net/http"
)

// The files of the page. They are served as they are, without a build step, and load nothing from elsewhere.
var (
	//go:embed static/index.html
	indexHTML []byte
	//go:embed static/page.css
	pageCSS []byte
	//go:embed static/page.js
	pageJS []byte
	//go:embed static/util.js
	utilJS []byte
	//go:embed static/stream.js
	streamJS []byte
	//go:embed static/state.js
	stateJS []byte
	//go:embed static/proxies.js
	proxiesJS []byte
	//go:embed static/log.js
	logJS []byte
	//go:embed static/heat.js
	heatJS []byte
	//go:embed static/chart.js
	chartJS []byte
	//go:embed static/panel.js
	panelJS []byte
	//go:embed static/walk.js
	walkJS []byte
	//go:embed static/icon.svg
	iconSVG []byte
)

const javascript = "text/javascript; charset=utf-8"

type pageFile struct {
	kind string
	data []byte
}

var pageFiles = map[string]pageFile{
	"/{$}":        {"text/html; charset=utf-8", indexHTML},
	"/page.css":   {"text/css; charset=utf-8", pageCSS},
	"/page.js":    {javascript, pageJS},
	"/util.js":    {javascript, utilJS},
	"/stream.js":  {javascript, streamJS},
	"/state.js":   {javascript, stateJS},
	"/proxies.js": {javascript, proxiesJS},
	"/log.js":     {javascript, logJS},
	"/heat.js":    {javascript, heatJS},
	"/chart.js":   {javascript, chartJS},
	"/panel.js":   {javascript, panelJS},
	"/walk.js":    {javascript, walkJS},
	"/icon.svg":   {"image/svg+xml", iconSVG},
}

func (f pageFile) serve(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", f.kind)
	_, _ = w.Write(f.data)
}
