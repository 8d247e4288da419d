"""For each kind, a small section of a profile that resolves on the internet of the demo. A new kind adds its own."""

from __future__ import annotations

from collections.abc import Mapping

SAMPLES: Mapping[str, object] = {
    "rpms": {
        "repos": [
            {
                "id": "baseos",
                "url": "https://download.rockylinux.org/pub/rocky/$releasever/AppStream/$basearch/os/",
                "gpgkey": ["https://download.rockylinux.org/pub/rocky/RPM-GPG-KEY-Rocky-8"],
                "mode": "mirror",
            }
        ]
    },
    "images": [
        {"ref": "docker.io/library/registry:3", "role": "registry"},
        {"ref": "docker.io/library/hello-world", "platforms": "all"},
    ],
    "wheels": {"python": ["3.11", "3.12"], "requirements": ["sample==1.0"]},
    "files": [{"url": "https://dl.k8s.io/release/v1.35.4/bin/linux/amd64/kubeadm.sha256", "mode": "0755"}],
    "bootstrap": {"target": "rocky-8-x86_64", "python": "3.12"},
}
