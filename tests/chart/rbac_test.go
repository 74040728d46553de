//go:build chart

package chart

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
)

func TestRBAC_IsLeast(t *testing.T) {
	r := render(t, "")
	var got []string
	for _, rule := range r.clusterRoles["diskbridge-controller"].Rules {
		got = append(got, flat(rule)...)
	}
	slices.Sort(got)
	want := []string{
		"csinodes.storage.k8s.io get list watch",
		"events create patch",
		"namespaces get of kube-system",
		"nodes get list watch",
		"persistentvolumeclaims get list watch update",
		"persistentvolumeclaims/status patch",
		"persistentvolumes get list watch create patch delete",
		"storageclasses.storage.k8s.io get list watch",
		"volumeattachments.storage.k8s.io get list watch patch",
		"volumeattachments.storage.k8s.io/status patch",
		"volumeattributesclasses.storage.k8s.io get list watch",
		"volumesnapshotclasses.snapshot.storage.k8s.io get list watch",
		"volumesnapshotcontents.snapshot.storage.k8s.io get list watch update patch",
		"volumesnapshotcontents.snapshot.storage.k8s.io/status update patch",
		"volumesnapshots.snapshot.storage.k8s.io get list watch update",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cluster role of the controller (- want, + got):\n%s", diff)
	}
	base, warns := []string{"nodes get patch", "csinodes.storage.k8s.io get"}, []string{"persistentvolumes get", "pods list", "events create"}
	for values, want := range map[string][]string{ // events on pods: of disks and of buckets
		"": slices.Concat(base, warns), "backends: [s3]": slices.Concat(base, warns), "backends: [efs]": base,
	} {
		got = nil
		for _, rule := range render(t, values).clusterRoles["diskbridge-node"].Rules {
			got = append(got, flat(rule)...)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("cluster role of the node with %q (- want, + got):\n%s", values, diff)
		}
	}
	for values, want := range map[string]bool{
		"backends: [s3]": false, "backends: [s3]\ns3: { evictLostMounts: true }": true,
		"s3: { evictLostMounts: true }": false, "backends: [s3]\nmounter: { enabled: false }\ns3: { evictLostMounts: true }": false,
	} {
		r, may := render(t, values), false
		for _, rule := range r.clusterRoles["diskbridge-node"].Rules {
			may = may || slices.Equal(flat(rule), []string{"pods/eviction create"})
		}
		c := container(t, r.daemonSets["diskbridge-node"].Spec.Template.Spec, "driver")
		knows(t, c)
		if evicts := slices.Contains(c.Args, "--evict-lost-mounts"); may != want || evicts != want {
			t.Errorf("%s: the node may evict: %t; it does: %t", values, may, evicts)
		}
	}
	if r.others["ValidatingAdmissionPolicy/diskbridge-node"] == nil || r.others["ValidatingAdmissionPolicyBinding/diskbridge-node"] == nil {
		t.Error("nothing confines the node's patches to its own Node")
	}
	lease := "ebs-csi-diskbridge-io"
	names := []string{"external-attacher-leader-" + lease, lease, "external-resizer-" + lease, "external-snapshotter-leader-" + lease}
	rules := r.roles["diskbridge-controller"].Rules
	if len(rules) != 2 || !slices.Equal(rules[0].Verbs, []string{"create"}) || !slices.Equal(rules[1].ResourceNames, names) {
		t.Errorf("role = %+v", rules)
	}
	for _, role := range r.clusterRoles {
		for _, rule := range role.Rules {
			for _, word := range append(append(rule.Verbs, rule.Resources...), rule.APIGroups...) {
				if word == "*" || word == "secrets" {
					t.Errorf("%s may %v", role.Name, rule)
				}
			}
		}
	}
	without := render(t, "sidecars: { snapshotter: { enabled: false } }")
	for _, rule := range without.clusterRoles["diskbridge-controller"].Rules {
		if slices.Contains(rule.APIGroups, "snapshot.storage.k8s.io") {
			t.Errorf("without snapshots, still %v", rule)
		}
	}
}

// flat writes a rule as one line for each resource.
func flat(rule rbacv1.PolicyRule) (lines []string) {
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			name, sub, _ := strings.Cut(resource, "/")
			if group != "" {
				name += "." + group
			}
			if sub != "" {
				name += "/" + sub
			}
			line := name + " " + strings.Join(rule.Verbs, " ")
			if len(rule.ResourceNames) > 0 {
				line += " of " + strings.Join(rule.ResourceNames, " ")
			}
			lines = append(lines, line)
		}
	}
	return lines
}

func TestChart_BindsWhatItMakes(t *testing.T) {
	r := render(t, "")
	for name, b := range r.clusterBinds {
		if r.clusterRoles[b.RoleRef.Name] == nil || r.accounts[b.Subjects[0].Name] == nil || b.Subjects[0].Namespace != "kube-system" {
			t.Errorf("%s binds %v to %v", name, b.RoleRef, b.Subjects)
		}
	}
	for name, b := range r.binds {
		if r.roles[b.RoleRef.Name] == nil || r.accounts[b.Subjects[0].Name] == nil || b.Namespace != "kube-system" {
			t.Errorf("%s binds %v to %v", name, b.RoleRef, b.Subjects)
		}
	}
	for name, s := range r.services {
		pod := r.deployments["diskbridge-controller"].Spec.Template
		if strings.Contains(name, "node") {
			pod = r.daemonSets["diskbridge-node"].Spec.Template
		}
		var ports []string
		for _, c := range pod.Spec.Containers {
			for _, p := range c.Ports {
				ports = append(ports, p.Name)
				if len(p.Name) > 15 {
					t.Errorf("the port's name %s is too long", p.Name)
				}
			}
		}
		for _, p := range s.Spec.Ports {
			if !slices.Contains(ports, p.TargetPort.String()) {
				t.Errorf("%s: no container has port %s", name, p.TargetPort.String())
			}
		}
		for key, value := range s.Spec.Selector {
			if pod.Labels[key] != value {
				t.Errorf("%s selects %s=%s, the pods have %v", name, key, value, pod.Labels)
			}
		}
	}
}

func TestAccounts_CarryTheRole(t *testing.T) {
	r := render(t, "controller: { serviceAccount: { annotations: { eks.amazonaws.com/role-arn: 'arn:aws:iam::123456789012:role/disks' } } }")
	if r.accounts["diskbridge-controller"].Annotations["eks.amazonaws.com/role-arn"] == "" || len(r.accounts["diskbridge-node"].Annotations) > 0 {
		t.Errorf("accounts = %v", r.accounts)
	}
	r = render(t, "controller: { serviceAccount: { create: false, name: mine } }")
	if r.accounts["diskbridge-controller"] != nil || r.deployments["diskbridge-controller"].Spec.Template.Spec.ServiceAccountName != "mine" ||
		r.clusterBinds["diskbridge-controller"].Subjects[0].Name != "mine" {
		t.Error("the account that exists is not used")
	}
	if _, problems, err := helm(t, "template", ".", "--set", "node.serviceAccount.create=false"); err == nil || !strings.Contains(problems, "node.serviceAccount.name") {
		t.Errorf("an account without a name: %v %s", err, problems)
	}
}
