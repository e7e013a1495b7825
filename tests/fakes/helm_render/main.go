// helm_render CHART [--set-file KEY=FILE] [--set KEY=VALUE]...: renders a chart as `helm template my-app CHART` does, with the same engine:
// text/template, sprig, and the functions that Helm adds.  Prints the manifests with "---" between them; NOTES.txt is rendered too, but not printed.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"sigs.k8s.io/yaml"
)

type files struct{ chart string }

func (f files) Get(name string) string {
	text, err := os.ReadFile(filepath.Join(f.chart, name))
	check(err)
	return string(text)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "helm_render:", err)
		os.Exit(1)
	}
}

func object(path string) map[string]interface{} {
	text, err := os.ReadFile(path)
	check(err)
	read := map[string]interface{}{}
	check(yaml.Unmarshal(text, &read))
	return read
}

func set(values map[string]interface{}, key string, value interface{}) {
	words := strings.Split(key, ".")
	for _, word := range words[:len(words)-1] {
		values = values[word].(map[string]interface{})
	}
	values[words[len(words)-1]] = value
}

func functions(t *template.Template) template.FuncMap {
	all := sprig.TxtFuncMap()
	delete(all, "env") // Helm takes these away
	delete(all, "expandenv")
	all["toYaml"] = func(value interface{}) (string, error) {
		text, err := yaml.Marshal(value)
		return strings.TrimSuffix(string(text), "\n"), err
	}
	all["include"] = func(name string, data interface{}) (string, error) {
		var out bytes.Buffer
		err := t.ExecuteTemplate(&out, name, data)
		return out.String(), err
	}
	all["required"] = func(message string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return nil, fmt.Errorf("%s", message)
		}
		return value, nil
	}
	return all
}

func main() {
	chart := os.Args[1]
	values := object(filepath.Join(chart, "values.yaml"))
	for i := 2; i+1 < len(os.Args); i += 2 {
		pair := strings.SplitN(os.Args[i+1], "=", 2)
		if os.Args[i] == "--set-file" {
			text, err := os.ReadFile(pair[1])
			check(err)
			set(values, pair[0], string(text))
			continue
		}
		var value interface{}
		check(yaml.Unmarshal([]byte(pair[1]), &value))
		set(values, pair[0], value)
	}
	about := object(filepath.Join(chart, "Chart.yaml"))
	data := map[string]interface{}{
		"Values":  values,
		"Chart":   map[string]interface{}{"Name": about["name"], "Version": about["version"], "AppVersion": about["appVersion"]},
		"Release": map[string]interface{}{"Name": "my-app", "Namespace": "default", "Service": "Helm"},
		"Files":   files{chart},
	}
	t := template.New("chart").Option("missingkey=zero")
	t.Funcs(functions(t))
	names, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	check(err)
	sort.Strings(names)
	for _, name := range names {
		text, err := os.ReadFile(name)
		check(err)
		_, err = t.New(name).Parse(string(text))
		check(err)
	}
	for _, name := range names {
		if strings.HasPrefix(filepath.Base(name), "_") {
			continue
		}
		var out bytes.Buffer
		check(t.ExecuteTemplate(&out, name, data))
		if strings.TrimSpace(out.String()) != "" && filepath.Ext(name) == ".yaml" {
			fmt.Printf("---\n# Source: %s\n%s\n", filepath.Base(name), out.String())
		}
	}
}
