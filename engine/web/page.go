package web

import (
	"embed"
	"io/fs"
	"net/http"
)

// files are the page with which a browser joins a room: plain HTML and modules,
// served as they are.
//
//go:embed page
var files embed.FS

// policy lets the page load from here only, and connect to here and to the QUIC
// port, which has another origin.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' ws: wss: https:; " +
	"worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// page serves the files.
func page() http.Handler {
	sub, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // the name is a constant, and valid
	}
	serve := http.FileServerFS(sub)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Permissions-Policy", "microphone=(self)")
		h.Set("Cache-Control", "no-cache") // it belongs to this version of the node
		serve.ServeHTTP(w, r)
	})
}
