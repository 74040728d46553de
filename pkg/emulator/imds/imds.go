package imds

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// MaxTTL is how long a session token may live:
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
const MaxTTL = 6 * time.Hour

const (
	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	role        = "diskbridge-node"
)

// Info is what an instance knows of itself.
type Info struct {
	ID, Type, Image, Zone, ZoneID, Region, Account string
	PrivateIP, Hostname                            string
	MACs                                           []string
	Launched                                       time.Time
	RootDevice                                     string
}

// Credentials are the instance role's.
type Credentials struct {
	AccessKeyID, Secret, SessionToken string
	Expires                           time.Time
}

// Source tells the service about its instance.
type Source interface {
	// Info is the instance as it is; false if it does not run.
	Info() (Info, bool)
	// Credentials are fresh credentials of the instance's role.
	Credentials(role string) Credentials
}

// Handler answers metadata requests. It is safe for concurrent use.
type Handler struct {
	source Source
	now    func() time.Time
	mu     sync.Mutex
	tokens map[string]time.Time // to expiry
}

var _ http.Handler = (*Handler)(nil)

// New makes a handler; now tells the time by which tokens expire.
func New(source Source, now func() time.Time) *Handler {
	return &Handler{source: source, now: now, tokens: map[string]time.Time{}}
}

// ServeHTTP answers PUT /latest/api/token, and everything else to who shows a token.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	info, ok := h.source.Info()
	if !ok { // nothing runs there that could answer
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Server", "EC2ws")
	if r.URL.Path == "/latest/api/token" {
		h.newToken(w, r)
		return
	}
	if r.Method != http.MethodGet {
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if !h.known(r.Header.Get(tokenHeader)) {
		http.Error(w, "unauthorized", http.StatusUnauthorized)
		return
	}
	body, ok := h.lookUp(info, strings.Trim(r.URL.Path, "/"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write([]byte(body)) // a caller that went away is its own affair
}

func (h *Handler) newToken(w http.ResponseWriter, r *http.Request) {
	seconds, err := strconv.Atoi(r.Header.Get(ttlHeader))
	ttl := time.Duration(seconds) * time.Second
	switch {
	case r.Method != http.MethodPut:
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	case r.Header.Get("X-Forwarded-For") != "":
		http.Error(w, "forbidden", http.StatusForbidden)
		return
	case err != nil || ttl < time.Second || ttl > MaxTTL:
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	token := rand.Text()
	h.mu.Lock()
	now := h.now()
	for old, expires := range h.tokens {
		if now.After(expires) {
			delete(h.tokens, old)
		}
	}
	h.tokens[token] = now.Add(ttl)
	h.mu.Unlock()
	w.Header().Set(ttlHeader, strconv.Itoa(seconds))
	_, _ = w.Write([]byte(token))
}

func (h *Handler) known(token string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	expires, ok := h.tokens[token]
	return ok && !h.now().After(expires)
}

// lookUp is the value at a path, or the list of what is below it.
func (h *Handler) lookUp(info Info, path string) (string, bool) {
	values := h.values(info)
	if value, ok := values[path]; ok {
		return value(), true
	}
	below := map[string]bool{}
	for p := range values {
		if rest, ok := strings.CutPrefix(p, path+"/"); ok {
			name, _, deeper := strings.Cut(rest, "/")
			if deeper {
				name += "/"
			}
			below[name] = true
		}
	}
	if len(below) == 0 {
		return "", false
	}
	var names []string
	for n := range below {
		names = append(names, n)
	}
	slices.Sort(names)
	return strings.Join(names, "\n"), true
}

// values are the leaves: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html
func (h *Handler) values(i Info) map[string]func() string {
	text := func(s string) func() string { return func() string { return s } }
	const meta, dynamic = "latest/meta-data/", "latest/dynamic/"
	values := map[string]func() string{
		meta + "ami-id":                           text(i.Image),
		meta + "block-device-mapping/ami":         text(i.RootDevice),
		meta + "block-device-mapping/root":        text(i.RootDevice),
		meta + "hostname":                         text(i.Hostname),
		meta + "iam/security-credentials/" + role: func() string { return document(h.credentials()) },
		meta + "instance-id":                      text(i.ID),
		meta + "instance-type":                    text(i.Type),
		meta + "local-hostname":                   text(i.Hostname),
		meta + "local-ipv4":                       text(i.PrivateIP),
		meta + "mac":                              text(i.MACs[0]),
		meta + "placement/availability-zone":      text(i.Zone),
		meta + "placement/availability-zone-id":   text(i.ZoneID),
		meta + "placement/region":                 text(i.Region),
		meta + "services/domain":                  text("amazonaws.com"),
		meta + "services/partition":               text("aws"),
		dynamic + "instance-identity/document":    func() string { return document(identity(i)) },
	}
	for n, mac := range i.MACs {
		values[meta+"network/interfaces/macs/"+mac+"/device-number"] = text(strconv.Itoa(n))
		values[meta+"network/interfaces/macs/"+mac+"/mac"] = text(mac)
	}
	return values
}

func identity(i Info) map[string]any {
	return map[string]any{
		"accountId": i.Account, "architecture": "x86_64", "availabilityZone": i.Zone, "imageId": i.Image, "instanceId": i.ID,
		"instanceType": i.Type, "pendingTime": i.Launched.UTC().Format(time.RFC3339), "privateIp": i.PrivateIP,
		"region": i.Region, "version": "2017-09-30",
	}
}

func (h *Handler) credentials() map[string]any {
	c := h.source.Credentials(role)
	return map[string]any{
		"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": h.now().UTC().Format(time.RFC3339), "AccessKeyId": c.AccessKeyID,
		"SecretAccessKey": c.Secret, "Token": c.SessionToken, "Expiration": c.Expires.UTC().Format(time.RFC3339),
	}
}

func document(v map[string]any) string {
	data, _ := json.MarshalIndent(v, "", "  ") // strings always marshal
	return string(data)
}
