package cluster

import (
	"context"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// addresses are where the programs of a cluster answer.
type addresses struct {
	host  string // where the API server is reached
	bind  string // where it listens
	api   string // its port
	etcd  string // port of etcd for its clients
	peers string // port of etcd for others of its kind
	aws   string // port of the emulator
	alone bool   // there are no nodes, and no other program has a port
}

// startControlPlane starts Kubernetes' own programs with the authorizers and the admission that real clusters have.
func (c *Cluster) startControlPlane(ctx context.Context) error {
	if err := c.startAPI(ctx); err != nil {
		return err
	}
	var err error
	if c.Config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err != nil {
		return err
	}
	c.Config.QPS, c.Config.Burst = 100, 200
	if c.Client, err = kubernetes.NewForConfig(c.Config); err != nil {
		return err
	}
	if err := Until(ctx, "kube-apiserver", func(ctx context.Context) error {
		return c.Client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	}); err != nil {
		return err
	}
	return c.startControllers(ctx)
}

func (c *Cluster) pki(name string) string { return c.Paths.run("pki", name) }

func (c *Cluster) startAPI(ctx context.Context) error {
	etcd, peers := "http://127.0.0.1:"+c.at.etcd, "http://127.0.0.1:"+c.at.peers
	if err := c.launch(ctx, "etcd", c.Paths.Kube+"/etcd", "--data-dir="+c.Paths.run("etcd"), "--unsafe-no-fsync",
		"--listen-client-urls="+etcd, "--advertise-client-urls="+etcd, "--listen-peer-urls="+peers,
		"--initial-advertise-peer-urls="+peers, "--initial-cluster=default="+peers); err != nil {
		return err
	}
	args := []string{
		"--etcd-servers=" + etcd, "--bind-address=" + c.at.bind, "--advertise-address=" + c.at.host, "--secure-port=" + c.at.api,
		"--tls-cert-file=" + c.pki("apiserver.crt"), "--tls-private-key-file=" + c.pki("apiserver.key"), "--client-ca-file=" + c.pki("ca.crt"),
		"--kubelet-client-certificate=" + c.pki("kubelet-client.crt"), "--kubelet-client-key=" + c.pki("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-cluster-ip-range=" + services, "--allow-privileged=true", "--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.pki("sa.key"), "--service-account-signing-key-file=" + c.pki("sa.key"),
	}
	if c.at.alone { // an endpoint of a Service cannot be on a loopback
		args = append(args, "--endpoint-reconciler-type=none")
	}
	return c.launch(ctx, "kube-apiserver", c.Paths.Kube+"/kube-apiserver", args...)
}

func (c *Cluster) startControllers(ctx context.Context) error {
	controllers := []string{
		"--kubeconfig=" + c.pki("controllers.kubeconfig"), "--leader-elect=false", "--bind-address=127.0.0.1", "--use-service-account-credentials",
		"--service-account-private-key-file=" + c.pki("sa.key"), "--root-ca-file=" + c.pki("ca.crt"), "--cert-dir=" + c.Paths.run("controllers"),
		// What users wait for elsewhere as well, only sooner.
		"--pvclaimbinder-sync-period=2s", "--attach-detach-reconcile-sync-period=5s", "--node-monitor-grace-period=20s",
	}
	scheduler := []string{
		"--kubeconfig=" + c.pki("scheduler.kubeconfig"), "--leader-elect=false", "--bind-address=127.0.0.1", "--cert-dir=" + c.Paths.run("scheduler"),
	}
	if c.at.alone { // no kubelet tells that its node lives
		controllers = append(controllers, "--secure-port=0", "--controllers=*,-node-lifecycle-controller")
		scheduler = append(scheduler, "--secure-port=0")
	}
	if err := c.launch(ctx, "kube-controller-manager", c.Paths.Kube+"/kube-controller-manager", controllers...); err != nil {
		return err
	}
	return c.launch(ctx, "kube-scheduler", c.Paths.Kube+"/kube-scheduler", scheduler...)
}
