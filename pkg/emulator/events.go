package emulator

import (
	"encoding/json"
	"net/http"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
)

// Event is a volume or a snapshot of the account as it is after a change. Changes that follow
// each other at once may be one event.
type Event struct {
	Volume   *VolumeState   `json:"volume,omitempty"`
	Snapshot *SnapshotState `json:"snapshot,omitempty"`
	Gone     string         `json:"gone,omitempty"` // the id of what is no more
}

// events sends every change from now on, one JSON object a line, until the caller leaves. The first line is empty:
// what happens after it was read is not missed.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	watch := s.store.Watch()
	defer watch.Stop()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := http.NewResponseController(w)
	_, err := w.Write([]byte("\n"))
	lines := json.NewEncoder(w)
	for err == nil {
		if err = out.Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.closing:
			return
		case <-watch.Wake():
		}
		for _, e := range s.changed(watch.Take()) {
			if err = lines.Encode(e); err != nil {
				return
			}
		}
	}
}

// changed are the events of records, which are given by id with their kind.
func (s *Server) changed(ids map[string]string) (events []Event) {
	s.store.Read(func() {
		for id, kind := range ids {
			switch kind {
			case store.Volumes:
				if v, ok := s.store.Volumes.Get(id); ok && v.State != store.Gone {
					state := newVolumeState(v)
					events = append(events, Event{Volume: &state})
					continue
				}
			case store.Snapshots:
				if v, ok := s.store.Snapshots.Get(id); ok {
					events = append(events, Event{Snapshot: &SnapshotState{v.ID, v.Volume, v.State, v.SizeGiB, v.Tags}})
					continue
				}
			default:
				continue
			}
			events = append(events, Event{Gone: id})
		}
	})
	return events
}
