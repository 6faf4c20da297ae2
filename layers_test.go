package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "signalbox"

// rule forbids imports below a package prefix, with the reason.
type rule struct {
	from   string            // package prefix, module-relative
	except []string          // packages below from that are free of it
	deny   map[string]string // import prefix: why
}

var layers = []rule{
	{"engine/view", nil, map[string]string{module + "/": "the outside's values depend on nothing", "github.com/": "standard library only", "golang.org/": "standard library only"}},
	{"engine/control", nil, map[string]string{module + "/": "the outside's values depend on nothing", "github.com/": "standard library only", "golang.org/": "standard library only"}},
	{"engine/ledger", nil, map[string]string{module + "/": "a leaf that relay, dht and engine all count in", "github.com/": "standard library only", "golang.org/": "standard library only"}},
	{"relay", nil, core("dht")},
	{"dht", nil, core("relay")},
	{"tui", []string{"tui/shot"}, map[string]string{
		module + "/relay": "the console sees engine/view only", module + "/dht": "the console sees engine/view only",
		module + "/engine$": "the console talks through its Source", "github.com/quic-go/": "a console never touches a socket",
	}},
	{"engine", []string{"engine/quicnet"}, map[string]string{"github.com/quic-go/": "engine/quicnet is the only importer, so that the transport can be changed"}},
	{"engine", []string{"engine/cli", "engine/sim"}, map[string]string{module + "/tui": "the console depends on the engine; only composition roots see both"}},
}

// core are the rules of relay and dht, which stay strangers to each other.
func core(other string) map[string]string {
	return map[string]string{
		module + "/" + other: "relay and dht do not know each other", module + "/engine$": "the engine depends on us",
		module + "/engine/dispatch": "we are called by the dispatcher", module + "/engine/quicnet": "we do no I/O",
		"github.com/quic-go/": "we do no I/O", "charm.land/": "no UI below the engine", module + "/tui": "no UI below the engine",
	}
}

type pkg struct {
	ImportPath string
	Imports    []string
	CgoFiles   []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,CgoFiles", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var ps []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	if len(ps) < 15 {
		t.Fatalf("only %d packages listed", len(ps))
	}
	return ps
}

func under(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, strings.TrimSuffix(prefix, "/")+"/")
}

func denies(pattern, imp string) bool {
	if exact, ok := strings.CutSuffix(pattern, "$"); ok {
		return imp == exact
	}
	return under(imp, pattern)
}

func TestLayers(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.CgoFiles) > 0 {
			t.Errorf("%s uses cgo; the binary is static", p.ImportPath)
		}
		rel := strings.TrimPrefix(p.ImportPath, module+"/")
	rules:
		for _, r := range layers {
			if !under(rel, r.from) {
				continue
			}
			for _, x := range r.except {
				if under(rel, x) {
					continue rules
				}
			}
			for _, imp := range p.Imports {
				for pattern, why := range r.deny {
					if denies(pattern, imp) {
						t.Errorf("%s imports %s: %s", p.ImportPath, imp, why)
					}
				}
			}
		}
	}
}

// long are the functions above the bar, with the reason.
var long = map[string]string{}

// TestShape keeps files, functions and interfaces small, and one package
// comment in every package.
func TestShape(t *testing.T) {
	docs := map[string]int{}
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if f.Doc != nil {
			docs[filepath.Dir(path)]++
		} else {
			docs[filepath.Dir(path)] += 0
		}
		if n := fset.Position(f.End()).Line; n > 500 {
			t.Errorf("%s has %d lines; the bar is 500", path, n)
		}
		ast.Inspect(f, func(n ast.Node) bool { checkNode(t, fset, n); return true })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, n := range docs {
		if n != 1 {
			t.Errorf("%s has %d package comments; it wants one", dir, n)
		}
	}
}

func checkNode(t *testing.T, fset *token.FileSet, n ast.Node) {
	t.Helper()
	switch n := n.(type) {
	case *ast.FuncDecl:
		if lines := fset.Position(n.End()).Line - fset.Position(n.Pos()).Line + 1; lines > 60 && long[n.Name.Name] == "" {
			t.Errorf("%s: %s has %d lines; the bar is 60", fset.Position(n.Pos()), n.Name.Name, lines)
		}
	case *ast.InterfaceType:
		if m := n.Methods.NumFields(); m > 5 {
			t.Errorf("%s: an interface of %d methods; the bar is 5", fset.Position(n.Pos()), m)
		}
	}
}
