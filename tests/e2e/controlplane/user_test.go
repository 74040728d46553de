package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/diskbridge/diskbridge/tests/e2e/cluster"
)

// patience bounds every wait. The sidecars wait longer from try to try: 1 s, 2 s, up to a minute.
const patience = 2 * time.Minute

var snapshots = schema.GroupVersionResource{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshots"}

// user has a namespace. All methods fail the test when the user would give up.
type user struct {
	*testing.T
	ns string
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// begin makes the test's namespace. At its end all in there is deleted, and with it all of it in AWS.
func begin(t *testing.T) *user {
	t.Helper()
	u := &user{t, strings.Trim(notInNames.ReplaceAllString(strings.ToLower(strings.TrimPrefix(t.Name(), "Test")), "-"), "-")}
	u.ns = u.ns[:min(60, len(u.ns))]
	_, err := here.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: u.ns}}, metav1.CreateOptions{})
	u.must(err)
	t.Cleanup(u.end)
	return u
}

func (u *user) must(err error) {
	u.Helper()
	if err != nil {
		u.Fatal(err)
	}
}

// end deletes everything and looks into AWS; the test's own context is over by then.
func (u *user) end() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if u.Failed() {
		u.Logf("events: %q", u.messages(ctx))
	}
	all, now := metav1.ListOptions{}, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
	err := errors.Join(
		here.Client.CoreV1().Pods(u.ns).DeleteCollection(ctx, now, all),
		objects.Resource(snapshots).Namespace(u.ns).DeleteCollection(ctx, now, all),
		here.Client.CoreV1().PersistentVolumeClaims(u.ns).DeleteCollection(ctx, now, all),
	)
	if err != nil {
		u.Error(err)
	}
	if err := cluster.Until(ctx, "nothing left", u.nothingLeft); err != nil {
		u.Error(err)
	}
}

func (u *user) nothingLeft(ctx context.Context) error {
	claims, err := here.Client.CoreV1().PersistentVolumeClaims(u.ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if len(claims.Items) > 0 {
		return fmt.Errorf("claim %s is still there", claims.Items[0].Name)
	}
	disks, shots, err := u.inAWS(ctx)
	if err == nil && len(disks)+len(shots) > 0 {
		err = fmt.Errorf("in AWS are %+v, %+v", disks, shots)
	}
	return err
}

// eventually waits until there is no error.
func (u *user) eventually(what string, ask func(context.Context) error) {
	u.Helper()
	ctx, cancel := context.WithTimeout(u.Context(), patience)
	defer cancel()
	u.must(cluster.Until(ctx, what, ask))
}

// stays asks for a while: there must be no error all the time.
func (u *user) stays(what string, d time.Duration, ask func(context.Context) error) {
	u.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		if err := ask(u.Context()); err != nil {
			u.Fatalf("%s: %v", what, err)
		}
	}
}

// messages are those of all events in the namespace, and of volumes, which have none.
func (u *user) messages(ctx context.Context) (all []string) {
	for _, ns := range []string{u.ns, "default"} {
		events, err := here.Client.CoreV1().Events(ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return []string{err.Error()}
		}
		for _, e := range events.Items {
			all = append(all, e.InvolvedObject.Name+" "+e.Reason+": "+e.Message)
		}
	}
	return all
}

// told waits until an event of the object says all parts.
func (u *user) told(object string, parts ...string) {
	u.Helper()
	u.eventually(fmt.Sprintf("event of %s with %q", object, parts), func(ctx context.Context) error {
		for _, m := range u.messages(ctx) {
			if strings.HasPrefix(m, object+" ") && !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(m, p) }) {
				return nil
			}
		}
		return errors.New("there is none")
	})
}

// claim makes a claim of the size; change may make it another.
func (u *user) claim(name, size string, change ...func(*corev1.PersistentVolumeClaimSpec)) {
	u.Helper()
	class := "now"
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: &class,
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
		},
	}
	for _, f := range change {
		f(&c.Spec)
	}
	_, err := here.Client.CoreV1().PersistentVolumeClaims(u.ns).Create(u.Context(), c, metav1.CreateOptions{})
	u.must(err)
}

// patch changes the claim's spec.
func (u *user) patch(name, spec string) {
	u.Helper()
	_, err := here.Client.CoreV1().PersistentVolumeClaims(u.ns).Patch(u.Context(), name, types.MergePatchType, []byte(`{"spec":`+spec+`}`), metav1.PatchOptions{})
	u.must(err)
}

func (u *user) resize(name, size string) {
	u.Helper()
	u.patch(name, `{"resources":{"requests":{"storage":"`+size+`"}}}`)
}

// bound waits until the claim has a volume, and returns that volume's id.
func (u *user) bound(name string) (id string) {
	u.Helper()
	u.eventually("claim "+name+" is bound", func(ctx context.Context) error {
		c, err := here.Client.CoreV1().PersistentVolumeClaims(u.ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if c.Status.Phase != corev1.ClaimBound {
			return fmt.Errorf("it is %s", c.Status.Phase)
		}
		pv, err := here.Client.CoreV1().PersistentVolumes().Get(ctx, c.Spec.VolumeName, metav1.GetOptions{})
		if err == nil {
			id = pv.Spec.CSI.VolumeHandle
		}
		return err
	})
	return id
}

// deleteClaim deletes a claim, and does not wait.
func (u *user) deleteClaim(name string) {
	u.Helper()
	u.must(here.Client.CoreV1().PersistentVolumeClaims(u.ns).Delete(u.Context(), name, metav1.DeleteOptions{}))
}

// pod makes a pod with the claim on a node; an empty node lets the scheduler choose.
func (u *user) pod(name, claim, node string) {
	u.Helper()
	_, err := here.Client.CoreV1().Pods(u.ns).Create(u.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			NodeName:   node,
			Containers: []corev1.Container{{Name: "main", Image: "none"}},
			Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
			}}},
		},
	}, metav1.CreateOptions{})
	u.must(err)
}

func (u *user) deletePod(name string) {
	u.Helper()
	u.must(here.Client.CoreV1().Pods(u.ns).Delete(u.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}))
}

// snapshot makes a snapshot of a claim.
func (u *user) snapshot(name, claim string) {
	u.Helper()
	_, err := objects.Resource(snapshots).Namespace(u.ns).Create(u.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"volumeSnapshotClassName": "snap", "source": map[string]any{"persistentVolumeClaimName": claim}},
	}}, metav1.CreateOptions{})
	u.must(err)
}

// snapshotError waits until the snapshot's status says the part.
func (u *user) snapshotError(name, part string) {
	u.Helper()
	u.eventually("error of snapshot "+name, func(ctx context.Context) error {
		s, err := objects.Resource(snapshots).Namespace(u.ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		text, _, _ := unstructured.NestedString(s.Object, "status", "error", "message")
		if !strings.Contains(text, part) {
			return fmt.Errorf("it says %q", text)
		}
		return nil
	})
}

func (u *user) snapshotReady(name string) {
	u.Helper()
	u.eventually("snapshot "+name+" is ready", func(ctx context.Context) error {
		s, err := objects.Resource(snapshots).Namespace(u.ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if ready, _, _ := unstructured.NestedBool(s.Object, "status", "readyToUse"); !ready {
			return fmt.Errorf("its status is %v", s.Object["status"])
		}
		return nil
	})
}

// snapshotGone deletes the snapshot and waits until it is gone.
func (u *user) snapshotGone(name string) {
	u.Helper()
	u.must(objects.Resource(snapshots).Namespace(u.ns).Delete(u.Context(), name, metav1.DeleteOptions{}))
	u.eventually("snapshot "+name+" is gone", func(ctx context.Context) error {
		left, err := objects.Resource(snapshots).Namespace(u.ns).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		if err == nil && len(left.Items) > 0 {
			err = errors.New("it is still there")
		}
		return err
	})
}

// disk is a volume as it is in AWS.
type disk struct {
	ID           string            `json:"id"`
	Zone         string            `json:"zone"`
	State        string            `json:"state"`
	SizeGiB      int               `json:"size_gib"`
	IOPS         int               `json:"iops"`
	Modification string            `json:"modification"`
	Tags         map[string]string `json:"tags"`
	Attachments  []struct {
		Instance string `json:"instance"`
		State    string `json:"state"`
	} `json:"attachments"`
}

type shot struct {
	ID   string            `json:"id"`
	Tags map[string]string `json:"tags"`
}

type state struct {
	Volumes   []disk `json:"volumes"`
	Snapshots []shot `json:"snapshots"`
}

func readAWS(ctx context.Context) (s state, err error) {
	err = here.Emulator(ctx, http.MethodGet, "state", "", &s)
	return s, err
}

// inAWS is what there is in AWS for the namespace.
func (u *user) inAWS(ctx context.Context) ([]disk, []shot, error) {
	s, err := readAWS(ctx)
	disks := slices.DeleteFunc(s.Volumes, func(d disk) bool { return d.Tags["kubernetes.io/created-for/pvc/namespace"] != u.ns })
	shots := slices.DeleteFunc(s.Snapshots, func(s shot) bool { return s.Tags["kubernetes.io/created-for/volumesnapshot/namespace"] != u.ns })
	return disks, shots, err
}

// becomes waits until the disk in AWS is as it should be.
func (u *user) becomes(id, what string, is func(disk) bool) {
	u.Helper()
	u.eventually(id+" "+what, func(ctx context.Context) error { return u.check(ctx, id, is) })
}

func (u *user) check(ctx context.Context, id string, is func(disk) bool) error {
	s, err := readAWS(ctx)
	if err != nil {
		return err
	}
	for _, d := range s.Volumes {
		if d.ID == id && is(d) {
			return nil
		} else if d.ID == id {
			return fmt.Errorf("it is %+v", d)
		}
	}
	return errors.New("there is no " + id)
}

// fault is a rule of the emulator.
type fault struct {
	Operation string `json:"operation"`
	Value     string `json:"value"`
	Effect    string `json:"effect"`
	Code      string `json:"code,omitempty"`
	Nth       int    `json:"nth,omitempty"`
	DelayMS   int    `json:"delay_ms,omitempty"`
}

// faults makes AWS misbehave for one value until repair is called, at the latest at the test's end.
func (u *user) faults(rules ...fault) (repair func()) {
	u.Helper()
	text, err := json.Marshal(rules)
	u.must(err)
	u.must(here.Emulator(u.Context(), http.MethodPost, "faults", string(text), nil))
	repair = func() {
		for _, r := range rules {
			if err := here.Emulator(context.Background(), http.MethodDelete, "faults", `{"value":"`+r.Value+`"}`, nil); err != nil {
				u.Error(err)
			}
		}
	}
	u.Cleanup(repair)
	return repair
}
