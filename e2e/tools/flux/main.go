// What kustomize-controller of Flux does with manifests, by Flux's own modules: it applies them, prunes what Git has no more,
// and judges how objects fare (kstatus). It knows nothing of this operator.
//
// `flux reconcile` reads {"apply": [object …], "prune": [object …], "force": bool} from standard input, acts on the cluster of
// $KUBECONFIG and writes {"changes": {"Kind/name": "created" …}, "error": "…"}. `flux status` reads {"objects": [object …],
// "healthCheckExprs": [as in a Kustomization …]} and writes [{"status": "InProgress", "message": "…"} …] in the same order.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/normalize"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The Kustomization that everything belongs to.
const (
	name      = "orgs"
	namespace = "flux-system"
)

type reconciliation struct {
	Apply []*unstructured.Unstructured `json:"apply"`
	Prune []*unstructured.Unstructured `json:"prune"`
	Force bool                         `json:"force"`
}

type outcome struct {
	Changes map[string]ssa.Action `json:"changes"`
	Error   string                `json:"error"`
}

type verdict struct {
	Status  status.Status `json:"status"`
	Message string        `json:"message"`
}

func manager() (*ssa.ResourceManager, error) {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, err
	}
	kube, err := client.New(config, client.Options{})
	if err != nil {
		return nil, err
	}
	owner := ssa.Owner{Field: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io"}
	poller := polling.NewStatusPoller(kube, kube.RESTMapper(), polling.Options{})
	return ssa.NewResourceManager(kube, poller, owner), nil
}

// Pruning follows applying, and what fails does not hold up what else is pruned.
func reconcile(ctx context.Context) (any, error) {
	var wanted reconciliation
	if err := json.NewDecoder(os.Stdin).Decode(&wanted); err != nil {
		return nil, fmt.Errorf("failed to read what to reconcile: %w", err)
	}
	manager, err := manager()
	if err != nil {
		return nil, fmt.Errorf("failed to reach the cluster: %w", err)
	}
	manager.SetOwnerLabels(wanted.Apply, name, namespace)
	if err := normalize.UnstructuredList(wanted.Apply); err != nil {
		return nil, err
	}
	options := ssa.DefaultApplyOptions()
	options.Force = wanted.Force
	options.Cleanup.FieldManagers = []ssa.FieldManager{
		{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationApply},
		{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationUpdate},
	}
	done := outcome{Changes: map[string]ssa.Action{}}
	note := func(changes *ssa.ChangeSet) {
		if changes != nil {
			for _, entry := range changes.Entries {
				done.Changes[entry.Subject] = entry.Action
			}
		}
	}
	changes, err := manager.ApplyAllStaged(ctx, wanted.Apply, options)
	note(changes)
	if err == nil {
		options := ssa.DefaultDeleteOptions()
		options.Inclusions = manager.GetOwnerLabels(name, namespace)
		options.Exclusions = map[string]string{"kustomize.toolkit.fluxcd.io/prune": "disabled"}
		changes, err = manager.DeleteAll(ctx, wanted.Prune, options)
		note(changes)
	}
	if err != nil {
		done.Error = err.Error()
	}
	return done, nil
}

func judge(ctx context.Context) (any, error) {
	var asked struct {
		Objects          []*unstructured.Unstructured  `json:"objects"`
		HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		return nil, fmt.Errorf("failed to read the objects: %w", err)
	}
	evaluators := map[schema.GroupKind]*cel.StatusEvaluator{}
	for _, check := range asked.HealthCheckExprs {
		evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
		if err != nil {
			return nil, fmt.Errorf("failed to read the expressions for %s: %w", check.Kind, err)
		}
		evaluators[schema.FromAPIVersionAndKind(check.APIVersion, check.Kind).GroupKind()] = evaluator
	}
	verdicts := make([]verdict, 0, len(asked.Objects))
	for _, object := range asked.Objects {
		compute := status.Compute
		if evaluator, ok := evaluators[object.GroupVersionKind().GroupKind()]; ok {
			compute = func(object *unstructured.Unstructured) (*status.Result, error) {
				return evaluator.Evaluate(ctx, object)
			}
		}
		result, err := compute(object)
		if err != nil {
			return nil, fmt.Errorf("failed to judge %s %s: %w", object.GetKind(), object.GetName(), err)
		}
		verdicts = append(verdicts, verdict{Status: result.Status, Message: result.Message})
	}
	return verdicts, nil
}

func run(ctx context.Context) (any, error) {
	if len(os.Args) == 2 && os.Args[1] == "reconcile" {
		return reconcile(ctx)
	}
	if len(os.Args) == 2 && os.Args[1] == "status" {
		return judge(ctx)
	}
	return nil, fmt.Errorf("usage: %s reconcile|status", os.Args[0])
}

func main() {
	said, err := run(context.Background())
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(said)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
