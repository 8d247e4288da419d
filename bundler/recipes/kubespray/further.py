"""What Kubespray's own lists leave out, as rules: when a Jinja condition on its variables holds, what is needed.

Found by reading its roles; each rule says which. A new version's surprises go here.
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """`when` is a Jinja expression; `what` a template of an image's name, an RPM's name, or a text for people."""

    when: str
    what: str


_CILIUM = "kube_network_plugin == 'cilium' or cilium_deploy_additionally | default(false)"
_EXTERNAL = "cloud_provider | default('') == 'external' and external_cloud_provider | default('') =="
_VSPHERE_CSI = "vsphere_csi_enabled | default(false)"
_HELPER = "{{ local_path_provisioner_helper_image_repo | default('busybox') }}"
_HELPER_TAG = "{{ local_path_provisioner_helper_image_tag | default('latest') }}"

# An entry whose variables a tree does not have is for another version of Kubespray, and is passed over.
IMAGES = (
    # roles/kubernetes-apps/external_provisioner/local_path_provisioner: its helper pod
    Rule("local_path_provisioner_enabled", f"{_HELPER}:{_HELPER_TAG}"),
    # Cilium's Helm chart adds -generic to the operator's name where no cloud is named, and runs Envoy always.
    Rule(_CILIUM, "{{ cilium_operator_image_repo }}-generic:{{ cilium_operator_image_tag }}"),
    Rule(_CILIUM, "{{ cilium_hubble_envoy_image_repo }}:{{ cilium_hubble_envoy_image_tag }}"),
    # roles/kubernetes-apps/node_feature_discovery
    Rule(
        "node_feature_discovery_enabled | default(false)",
        "{{ node_feature_discovery_image_repo }}:{{ node_feature_discovery_image_tag }}",
    ),
    # roles/kubernetes-apps/external_cloud_controller
    Rule(
        f"{_EXTERNAL} 'openstack'",
        "{{ external_openstack_cloud_controller_image_repo }}:{{ external_openstack_cloud_controller_image_tag }}",
    ),
    Rule(
        f"{_EXTERNAL} 'vsphere'",
        "{{ kube_image_repo }}/cloud-pv-vsphere/cloud-provider-vsphere"
        ":{{ external_vsphere_cloud_controller_image_tag }}",
    ),
    # roles/kubernetes-apps/csi_driver/vsphere
    Rule(_VSPHERE_CSI, "{{ kube_image_repo }}/csi-vsphere/driver:{{ vsphere_csi_controller }}"),
    Rule(_VSPHERE_CSI, "{{ kube_image_repo }}/csi-vsphere/driver:{{ vsphere_csi_driver_image_tag }}"),
    Rule(_VSPHERE_CSI, "{{ kube_image_repo }}/csi-vsphere/syncer:{{ vsphere_syncer_image_tag }}"),
    Rule(_VSPHERE_CSI, "{{ kube_image_repo }}/sig-storage/csi-attacher:{{ vsphere_csi_attacher_image_tag }}"),
    Rule(
        _VSPHERE_CSI,
        "{{ kube_image_repo }}/sig-storage/csi-node-driver-registrar:{{ vsphere_csi_node_driver_registrar_image_tag }}",
    ),
    Rule(_VSPHERE_CSI, "{{ kube_image_repo }}/sig-storage/csi-provisioner:{{ vsphere_csi_provisioner_image_tag }}"),
    Rule(_VSPHERE_CSI, "{{ kube_image_repo }}/sig-storage/csi-resizer:{{ vsphere_csi_resizer_tag }}"),
    Rule(_VSPHERE_CSI, "{{ kube_image_repo }}/sig-storage/csi-snapshotter:{{ vsphere_csi_snapshotter_image_tag }}"),
    Rule(_VSPHERE_CSI, "{{ kube_image_repo }}/sig-storage/livenessprobe:{{ vsphere_csi_liveness_probe_image_tag }}"),
)

# For distributions of RPMs.
PACKAGES = (
    # Ansible's own modules need it where SELinux is on; Kubespray installs it on RHEL and CentOS only.
    Rule("true", "python3-libselinux"),
    # From EL 10 on br_netfilter is in a package of its own, and roles/kubernetes/node loads it.
    Rule("ansible_distribution_major_version is version('10', '>=')", "kernel-modules-extra"),
    Rule("helm_enabled | default(false)", "python3-pyyaml"),  # roles/kubernetes-apps/helm
    Rule("calico_wireguard_enabled | default(false)", "wireguard-tools"),  # roles/network_plugin/calico
    Rule("ntp_timezone | default('') | string | length > 0", "tzdata"),  # roles/kubernetes/preinstall
    Rule("epel_enabled | default(false)", "epel-release"),  # roles/system_packages
)

# cilium-cli fetches the chart by itself, from a repository of Cilium's.
CILIUM_CHART = Rule(_CILIUM, "https://helm.cilium.io/cilium-{{ cilium_version }}.tgz")

REFUSED = (
    Rule(
        "container_manager == 'docker'",
        "container_manager: docker takes its packages from a repository of Docker's, which is not carried; "
        "containerd and crio need none",
    ),
)

WARNINGS = (
    Rule(
        "argocd_enabled | default(false)",
        "argocd_enabled: the images that Argo CD's install.yaml names stand in no variable of Kubespray's: "
        "list them under `images:`",
    ),
    Rule(
        "kubelet_csr_approver_enabled | default(false)",
        "kubelet_csr_approver_enabled: its Helm chart and image stand in no list of Kubespray's: carry them by "
        "`files:` and `images:`, and set kubelet_csr_approver_chart_ref to the chart",
    ),
)
