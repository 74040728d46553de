package kubetest

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
)

// token is what callers must present; it stands in the kubeconfig.
const token = "a-token-of-the-test"

// Server is a running API server.
type Server struct {
	URL        string
	Kubeconfig string // path of a file that leads here

	mu       sync.Mutex
	objects  map[string][]byte // by path, such as /api/v1/nodes/a
	requests []string          // "METHOD path", in order
	hook     func(method, path string) int
}

var _ http.Handler = (*Server)(nil)

// New starts a server, which ends with the test.
func New(tb testing.TB) *Server {
	tb.Helper()
	s := &Server{objects: map[string][]byte{}}
	server := httptest.NewTLSServer(s) // clients present tokens to nothing less
	tb.Cleanup(server.Close)
	s.URL, s.Kubeconfig = server.URL, filepath.Join(tb.TempDir(), "kubeconfig")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: test}}]
clusters: [{name: test, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: test, user: {token: %s}}]
`, s.URL, base64.StdEncoding.EncodeToString(ca), token)
	if err := os.WriteFile(s.Kubeconfig, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return s
}

// Put sets the object at a path, as JSON.
func (s *Server) Put(path, object string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[path] = []byte(object)
}

// Object decodes the object at a path and reports whether there is one.
func (s *Server) Object(tb testing.TB, path string, into any) bool {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	text, ok := s.objects[path]
	if ok {
		if err := json.Unmarshal(text, into); err != nil {
			tb.Fatal(err)
		}
	}
	return ok
}

// Under lists the paths of objects below a path.
func (s *Server) Under(path string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.under(path)
}

func (s *Server) under(path string) (paths []string) {
	for p := range maps.Keys(s.objects) {
		if strings.HasPrefix(p, path+"/") {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	return paths
}

// Requests lists what was asked so far, as "METHOD path".
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Hook sees each request before it is answered; an HTTP status other than 0 is the answer. It may call Put.
func (s *Server) Hook(hook func(method, path string) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}

// ServeHTTP answers as kube-apiserver does, as far as it goes.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	hook := s.hook
	s.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+token {
		refuse(w, http.StatusUnauthorized, "Unauthorized", "who are you?")
		return
	}
	if hook != nil {
		if status := hook(r.Method, r.URL.Path); status != 0 {
			refuse(w, status, map[int]string{http.StatusForbidden: "Forbidden", http.StatusConflict: "Conflict"}[status], "as the test wants it")
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.Method {
	case http.MethodGet:
		s.get(w, r)
	case http.MethodPatch:
		s.patch(w, r)
	case http.MethodPost:
		s.post(w, r)
	default:
		refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed", r.Method)
	}
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	if object, ok := s.objects[r.URL.Path]; ok {
		send(w, http.StatusOK, object)
		return
	}
	all := s.under(r.URL.Path)
	if len(all) == 0 {
		refuse(w, http.StatusNotFound, "NotFound", r.URL.Path+" not found")
		return
	}
	from, _ := strconv.Atoi(r.URL.Query().Get("continue")) // our own number, or nothing
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	if limit == 0 {
		limit = len(all)
	}
	to := min(from+limit, len(all))
	list := map[string]any{"apiVersion": "v1", "kind": "List", "metadata": map[string]any{}}
	if strings.HasSuffix(r.URL.Path, "/persistentvolumes") {
		list["kind"] = "PersistentVolumeList"
	}
	if to < len(all) {
		list["metadata"] = map[string]any{"continue": strconv.Itoa(to)}
	}
	items := []json.RawMessage{}
	for _, path := range all[from:to] {
		items = append(items, s.objects[path])
	}
	list["items"] = items
	text, err := json.Marshal(list)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "InternalError", err.Error())
		return
	}
	send(w, http.StatusOK, text)
}

func (s *Server) patch(w http.ResponseWriter, r *http.Request) {
	object, ok := s.objects[r.URL.Path]
	body, err := io.ReadAll(r.Body)
	switch {
	case !ok:
		refuse(w, http.StatusNotFound, "NotFound", r.URL.Path)
		return
	case err != nil || r.Header.Get("Content-Type") != "application/json-patch+json":
		refuse(w, http.StatusUnsupportedMediaType, "UnsupportedMediaType", r.Header.Get("Content-Type"))
		return
	}
	patch, err := jsonpatch.DecodePatch(body)
	if err == nil {
		object, err = patch.Apply(object)
	}
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, "Invalid", err.Error())
		return
	}
	s.objects[r.URL.Path] = object
	send(w, http.StatusOK, object)
}

func (s *Server) post(w http.ResponseWriter, r *http.Request) {
	var head struct {
		Metadata struct{ Name string }
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &head)
	}
	if err != nil || head.Metadata.Name == "" {
		refuse(w, http.StatusBadRequest, "BadRequest", fmt.Sprint("no object with a name: ", err))
		return
	}
	if pod, ok := strings.CutSuffix(r.URL.Path, "/eviction"); ok {
		s.evict(w, pod, body)
		return
	}
	s.objects[r.URL.Path+"/"+head.Metadata.Name] = body
	send(w, http.StatusCreated, body)
}

// evict removes a pod, if it is the one that is meant.
func (s *Server) evict(w http.ResponseWriter, path string, body []byte) {
	var asked struct {
		APIVersion, Kind string
		DeleteOptions    struct{ Preconditions struct{ UID string } }
	}
	var pod struct{ Metadata struct{ UID string } }
	object, ok := s.objects[path]
	if !ok {
		refuse(w, http.StatusNotFound, "NotFound", path)
		return
	}
	err := errors.Join(json.Unmarshal(body, &asked), json.Unmarshal(object, &pod))
	switch want := asked.DeleteOptions.Preconditions.UID; {
	case err != nil || asked.APIVersion != "policy/v1" || asked.Kind != "Eviction":
		refuse(w, http.StatusBadRequest, "BadRequest", fmt.Sprint("no eviction: ", string(body), err))
	case want != "" && want != pod.Metadata.UID:
		refuse(w, http.StatusConflict, "Conflict", fmt.Sprintf("Precondition failed: UID in precondition: %s, UID in object meta: %s", want, pod.Metadata.UID))
	default:
		delete(s.objects, path)
		send(w, http.StatusCreated, []byte(`{"apiVersion":"v1","kind":"Status","status":"Success"}`))
	}
}

func send(w http.ResponseWriter, status int, text []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // the caller may be gone
}

func refuse(w http.ResponseWriter, status int, reason, message string) {
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Status","status":"Failure","reason":%q,"message":%q,"code":%d}`, reason, message, status)
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	send(w, status, []byte(text))
}
