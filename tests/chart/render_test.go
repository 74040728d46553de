//go:build chart

package chart

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/diskbridge/diskbridge/tests/harness"
)

// rendered are the objects of one release, decoded strictly: a field that Kubernetes does not know fails the test.
type rendered struct {
	deployments    map[string]*appsv1.Deployment
	daemonSets     map[string]*appsv1.DaemonSet
	budgets        map[string]*policyv1.PodDisruptionBudget
	accounts       map[string]*corev1.ServiceAccount
	services       map[string]*corev1.Service
	clusterRoles   map[string]*rbacv1.ClusterRole
	clusterBinds   map[string]*rbacv1.ClusterRoleBinding
	roles          map[string]*rbacv1.Role
	binds          map[string]*rbacv1.RoleBinding
	drivers        map[string]*storagev1.CSIDriver
	storageClasses map[string]*storagev1.StorageClass
	attributes     map[string]*storagev1.VolumeAttributesClass
	others         map[string]map[string]any // by "Kind/name": what needs a CRD
}

// helm runs the helm of tools/ in a home of its own.
func helm(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	binary := os.Getenv("DISKBRIDGE_HELM")
	if binary == "" {
		t.Fatal("DISKBRIDGE_HELM does not name helm: use `make chart`")
	}
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Dir = chartDir(t)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	var out, problems strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problems
	err = cmd.Run()
	return out.String(), problems.String(), err
}

func chartDir(t *testing.T) string {
	return filepath.Join(harness.Root(t), "deploy", "charts", "diskbridge")
}

// render renders the release diskbridge in kube-system with values, as YAML, over the defaults.
func render(t *testing.T, values string, flags ...string) *rendered {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"template", "diskbridge", ".", "--namespace=kube-system", "--values=" + file}, flags...)
	out, problems, err := helm(t, args...)
	if err != nil {
		t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, problems)
	}
	return decode(t, []byte(out))
}

func decode(t *testing.T, text []byte) *rendered {
	t.Helper()
	r := &rendered{
		map[string]*appsv1.Deployment{}, map[string]*appsv1.DaemonSet{}, map[string]*policyv1.PodDisruptionBudget{},
		map[string]*corev1.ServiceAccount{}, map[string]*corev1.Service{}, map[string]*rbacv1.ClusterRole{},
		map[string]*rbacv1.ClusterRoleBinding{}, map[string]*rbacv1.Role{}, map[string]*rbacv1.RoleBinding{},
		map[string]*storagev1.CSIDriver{}, map[string]*storagev1.StorageClass{}, map[string]*storagev1.VolumeAttributesClass{},
		map[string]map[string]any{},
	}
	for reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return r
		}
		if err != nil {
			t.Fatal(err)
		}
		var head struct {
			metav1.TypeMeta   `json:",inline"`
			metav1.ObjectMeta `json:"metadata"`
		}
		if err := yaml.Unmarshal(doc, &head); err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		if head.Kind != "" {
			r.add(t, head.GroupVersionKind().GroupVersion().String()+" "+head.Kind, head.Name, doc)
		}
	}
}

func (r *rendered) add(t *testing.T, kind, name string, doc []byte) {
	t.Helper()
	switch kind {
	case "apps/v1 Deployment":
		put(t, r.deployments, name, doc)
	case "apps/v1 DaemonSet":
		put(t, r.daemonSets, name, doc)
	case "policy/v1 PodDisruptionBudget":
		put(t, r.budgets, name, doc)
	case "v1 ServiceAccount":
		put(t, r.accounts, name, doc)
	case "v1 Service":
		put(t, r.services, name, doc)
	case "rbac.authorization.k8s.io/v1 ClusterRole":
		put(t, r.clusterRoles, name, doc)
	case "rbac.authorization.k8s.io/v1 ClusterRoleBinding":
		put(t, r.clusterBinds, name, doc)
	case "rbac.authorization.k8s.io/v1 Role":
		put(t, r.roles, name, doc)
	case "rbac.authorization.k8s.io/v1 RoleBinding":
		put(t, r.binds, name, doc)
	case "storage.k8s.io/v1 CSIDriver":
		put(t, r.drivers, name, doc)
	case "storage.k8s.io/v1 StorageClass":
		put(t, r.storageClasses, name, doc)
	case "storage.k8s.io/v1 VolumeAttributesClass":
		put(t, r.attributes, name, doc)
	default:
		_, kind, _ = strings.Cut(kind, " ")
		object := map[string]any{}
		if err := yaml.UnmarshalStrict(doc, &object); err != nil {
			t.Fatalf("%s %s: %v", kind, name, err)
		}
		r.others[kind+"/"+name] = object
	}
}

func put[T any](t *testing.T, into map[string]*T, name string, doc []byte) {
	t.Helper()
	object := new(T)
	if err := yaml.UnmarshalStrict(doc, object); err != nil {
		t.Fatalf("%T %s: %v\n%s", object, name, err, doc)
	}
	if _, twice := into[name]; twice {
		t.Errorf("%T %s is there twice", object, name)
	}
	into[name] = object
}

// container finds a container by name.
func container(t *testing.T, pod corev1.PodSpec, name string) corev1.Container {
	t.Helper()
	for _, c := range pod.Containers {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("there is no container %s", name)
	return corev1.Container{}
}

// help is what one of our programs says about itself.
func help(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(harness.Bin(t), program), args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
