// Asks Cyclonus, which knows nothing of this operator, who may reach whom under the NetworkPolicies of a cluster.
//
// Reads {"policies": [NetworkPolicy …], "questions": [{"from": peer, "to": peer, "port": 443, "protocol": "TCP"} …]} from
// standard input and writes [{"egress": bool, "ingress": bool} …] in the same order. A peer is a pod, {"namespace",
// "namespaceLabels", "podLabels", "ip"}, or an address outside of the cluster, {"ip"}. Traffic flows where both are true.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

type peer struct {
	Namespace       string            `json:"namespace"`
	NamespaceLabels map[string]string `json:"namespaceLabels"`
	PodLabels       map[string]string `json:"podLabels"`
	IP              string            `json:"ip"`
}

func (p peer) traffic() *matcher.TrafficPeer {
	if p.Namespace == "" {
		return &matcher.TrafficPeer{IP: p.IP}
	}
	return &matcher.TrafficPeer{IP: p.IP, Internal: &matcher.InternalPeer{
		Namespace:       p.Namespace,
		NamespaceLabels: p.NamespaceLabels,
		PodLabels:       p.PodLabels,
	}}
}

type question struct {
	From     peer            `json:"from"`
	To       peer            `json:"to"`
	Port     int             `json:"port"`
	Protocol corev1.Protocol `json:"protocol"`
}

type answer struct {
	Egress  bool `json:"egress"`
	Ingress bool `json:"ingress"`
}

func run() error {
	var asked struct {
		Policies  []*networkingv1.NetworkPolicy `json:"policies"`
		Questions []question                    `json:"questions"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		return fmt.Errorf("failed to read the questions: %w", err)
	}
	policy := matcher.BuildNetworkPolicies(false, asked.Policies)
	answers := make([]answer, 0, len(asked.Questions))
	for _, q := range asked.Questions {
		allowed := policy.IsTrafficAllowed(&matcher.Traffic{
			Source:       q.From.traffic(),
			Destination:  q.To.traffic(),
			ResolvedPort: q.Port,
			Protocol:     q.Protocol,
		})
		answers = append(answers, answer{Egress: allowed.Egress.IsAllowed(), Ingress: allowed.Ingress.IsAllowed()})
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
