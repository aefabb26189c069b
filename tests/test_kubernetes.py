"""The manifests for Kubernetes: the API would accept them, and what they say fits the service and HAProxy."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from server.config.flags import parse_settings
from server.config.settings import Settings
from tests.docker_replay import run_command, stages, values
from tests.live_server import ROOT

MANIFESTS = ROOT / "deploy/kubernetes"
OVERLAYS = ("cpu", "gpu")
COMPONENTS = ("monitoring", "autoscaling", "bundle-image")
# The oldest version that these manifests are for, and the newest that is known here.
VERSIONS = ("1.29.0", "1.37.0")

# Of the resources that other projects define, only the fields that are used; the clusters themselves check the rest.
_SELECTOR = {
    "type": "object",
    "required": ["matchLabels"],
    "additionalProperties": False,
    "properties": {"matchLabels": {}},
}
_ENDPOINT = {
    "type": "object",
    "required": ["port"],
    "additionalProperties": False,
    "properties": {"port": {"type": "string"}, "path": {"type": "string"}, "interval": {"pattern": r"^\d+s$"}},
}
_POLICIES = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "stabilizationWindowSeconds": {"type": "integer", "minimum": 0, "maximum": 3600},
        "policies": {
            "type": "array",
            "items": {
                "required": ["type", "value", "periodSeconds"],
                "properties": {"type": {"enum": ["Pods", "Percent"]}, "value": {"type": "integer", "minimum": 1}},
            },
        },
    },
}
_TRIGGER = {
    "type": "object",
    "required": ["type", "metadata"],
    "additionalProperties": False,
    "properties": {
        "type": {"const": "prometheus"},
        "metricType": {"enum": ["AverageValue", "Value"]},
        "metadata": {
            "required": ["serverAddress", "query", "threshold"],
            "additionalProperties": False,
            "properties": {name: {"type": "string"} for name in ("serverAddress", "query", "threshold")},
        },
    },
}
OTHERS: dict[tuple[str, str], dict[str, Any]] = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"): {
        "required": ["selector", "endpoints"],
        "additionalProperties": False,
        "properties": {
            "jobLabel": {"type": "string"},
            "selector": _SELECTOR,
            "endpoints": {"type": "array", "items": _ENDPOINT},
        },
    },
    ("keda.sh/v1alpha1", "ScaledObject"): {
        "required": ["scaleTargetRef", "triggers"],
        "additionalProperties": False,
        "properties": {
            "scaleTargetRef": {"required": ["name"], "additionalProperties": False, "properties": {"name": {}}},
            "minReplicaCount": {"type": "integer", "minimum": 1},
            "maxReplicaCount": {"type": "integer", "minimum": 1},
            "pollingInterval": {"type": "integer", "minimum": 1},
            "advanced": {
                "additionalProperties": False,
                "properties": {
                    "horizontalPodAutoscalerConfig": {
                        "additionalProperties": False,
                        "properties": {"behavior": {"properties": {"scaleUp": _POLICIES, "scaleDown": _POLICIES}}},
                    }
                },
            },
            "triggers": {"type": "array", "minItems": 1, "items": _TRIGGER},
        },
    },
}

Resources = dict[tuple[str, str], dict[str, Any]]
needs_kubectl = pytest.mark.skipif(
    not shutil.which("kubectl"), reason="kubectl, which renders overlays, is not installed"
)


def _resources(text: str) -> Resources:
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text)}


def _base() -> Resources:
    names = yaml.safe_load((MANIFESTS / "base/kustomization.yaml").read_text())["resources"]
    return {key: each for name in names for key, each in _resources((MANIFESTS / "base" / name).read_text()).items()}


def _rendered(overlay: str, components: tuple[str, ...], directory: Path) -> Resources:
    """What `kubectl apply -k` would send, for an overlay of an operator."""
    above = os.path.relpath(MANIFESTS, directory)
    mine = {"resources": [f"{above}/{overlay}"], "components": [f"{above}/{name}" for name in components]}
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(mine))
    built = run_command("kubectl", "kustomize", str(directory))
    assert built.returncode == 0, built.stderr
    return _resources(built.stdout)


def _check(resources: Resources) -> None:
    """By the API's own schemas, with no field that they do not know."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for (kind, name), resource in resources.items():
        if (own := OTHERS.get((resource["apiVersion"], kind))) is not None:
            assert set(resource) == {"apiVersion", "kind", "metadata", "spec"}
            Draft202012Validator(own).validate(resource["spec"])
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(resource, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                pytest.fail(f"{kind} {name}, Kubernetes {version}: {error.message}")


def _pod(resources: Resources, name: str) -> dict[str, Any]:
    return dict(resources["Deployment", name]["spec"]["template"]["spec"])


def _environment(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


def test_the_base_is_valid() -> None:
    _check(_base())


def test_schemas_refuse_what_is_wrong() -> None:
    pytest.importorskip("kubernetes_validate")
    base = _base()
    base["PodDisruptionBudget", "vjepa2-haproxy"]["spec"]["maxUnavailible"] = 1
    with pytest.raises(pytest.fail.Exception, match="PodDisruptionBudget vjepa2-haproxy"):
        _check(base)


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("components", [(), COMPONENTS], ids=["alone", "with all components"])
def test_what_is_applied_is_valid(overlay: str, components: tuple[str, ...], tmp_path: Path) -> None:
    resources = _rendered(overlay, components, tmp_path)
    _check(resources)
    for kind, name in resources:
        if kind != "Deployment":
            continue
        for each in (*_pod(resources, name).get("initContainers", ()), *_pod(resources, name)["containers"]):
            assert each["securityContext"]["readOnlyRootFilesystem"], (name, each["name"])
            assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {"requests", "limits"} <= set(each["resources"])
    pod = _pod(resources, "vjepa2-instances")
    (service,), (bundle,) = pod["containers"], pod["initContainers"]
    served = _environment(service)["VJEPA_BUNDLE"]
    if components:
        assert bundle["command"][-1] == served.removesuffix("/model")
        assert ("PersistentVolumeClaim", "vjepa2-bundles") not in resources
        assert "replicas" not in resources["Deployment", "vjepa2-instances"]["spec"]
    else:
        assert _environment(bundle)["VJEPA_EXPORT_OUTPUT"] == served == f"/bundles/{overlay}/model"
        assert bundle["image"] == f"vjepa2-serve:{'export-cpu' if overlay == 'cpu' else 'gpu'}"
    assert service["image"] == f"vjepa2-serve:{overlay}"
    assert service["image"].partition(":")[2] in stages()


def test_instances_drain_before_they_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flags are the service's own, and the grace period covers what they allow."""
    pod = _pod(_base(), "vjepa2-instances")
    (service,) = pod["containers"]
    for name, value in _environment(service).items():
        monkeypatch.setenv(name, value)
    settings = parse_settings([])
    assert settings.drain_delay_s > 2 * 1 + 1  # two checks of HAProxy, and the time that one may take
    assert pod["terminationGracePeriodSeconds"] > settings.drain_delay_s + settings.drain_timeout_s
    assert pod["securityContext"]["runAsUser"] == int(values("cpu", "USER")[0]) == int(values("gpu", "USER")[0])
    paths = [service[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")]
    assert paths == ["/health/ready", "/health/ready", "/health/live"]


def test_haproxy_stops_after_its_requests_and_has_the_places_that_it_needs() -> None:
    pod = _pod(_base(), "vjepa2-haproxy")
    (haproxy,) = pod["containers"]
    configuration = (MANIFESTS / "base/haproxy.cfg").read_text()
    (hard_stop_s,) = re.findall(r"hard-stop-after (\d+)s", configuration)
    pre_stop_s = int(haproxy["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > pre_stop_s + int(hard_stop_s)
    for port in haproxy["ports"]:
        assert f":{port['containerPort']}\n" in configuration
    assert f"monitor-uri {haproxy['readinessProbe']['httpGet']['path']}\n" in configuration
    (scaled,) = _resources((MANIFESTS / "autoscaling/scaled-object.yaml").read_text()).values()
    places = re.findall(r"server-template instance- (\d+) ", configuration)
    assert len(places) == 2
    assert all(int(count) > scaled["spec"]["maxReplicaCount"] for count in places)


def test_names_and_labels_meet() -> None:
    """A selector, a port or an address that meets nothing would be accepted by every schema."""
    base = _base()
    monitors = _resources((MANIFESTS / "monitoring/service-monitors.yaml").read_text())
    for name, service in (("vjepa2-instances", "vjepa2-instances"), ("vjepa2-haproxy", "vjepa2-serve")):
        labels = base["Deployment", name]["spec"]["template"]["metadata"]["labels"]
        exposed = base["Service", service]
        with_part = labels | {"app.kubernetes.io/part-of": "vjepa2-serve"}
        assert exposed["spec"]["selector"] == exposed["metadata"]["labels"] == labels
        for kind in ("PodDisruptionBudget", "NetworkPolicy"):
            spec = base[kind, name]["spec"]
            assert (spec.get("selector") or spec["podSelector"])["matchLabels"].items() <= with_part.items()
        monitor = monitors["ServiceMonitor", name]["spec"]
        assert monitor["selector"]["matchLabels"].items() <= with_part.items()
        assert monitor["endpoints"][0]["port"] in {port["name"] for port in exposed["spec"]["ports"]}
        (job,) = {exposed["metadata"]["labels"][monitor["jobLabel"]]}
        assert f"job_name: {job}\n" in (ROOT / "deploy/prometheus.yml").read_text()
    (haproxy,) = _pod(base, "vjepa2-haproxy")["containers"]
    assert _environment(haproxy)["VJEPA_INSTANCES"].startswith("vjepa2-instances.")
    assert base["Service", "vjepa2-instances"]["spec"]["ports"][0]["port"] == Settings.port


def test_haproxy_of_the_cluster_differs_only_in_how_it_finds_instances() -> None:
    def common(path: Path) -> list[str]:
        lines = path.read_text().partition("\nglobal\n")[2].splitlines()
        return [
            line for line in lines if not re.match(r" +(server|server-template|presetenv VJEPA_(SERVER|INST).*) ", line)
        ]

    assert common(MANIFESTS / "base/haproxy.cfg") == common(ROOT / "deploy/haproxy.cfg")


def test_scaling_asks_for_metrics_that_exist() -> None:
    (scaled,) = _resources((MANIFESTS / "autoscaling/scaled-object.yaml").read_text()).values()
    known = (ROOT / "deploy/grafana-dashboard.json").read_text()
    for trigger in scaled["spec"]["triggers"]:
        names = set(re.findall(r"vjepa_\w+", trigger["metadata"]["query"]))
        assert names
        assert all(name.removesuffix("_sum").removesuffix("_count") in known for name in names)
