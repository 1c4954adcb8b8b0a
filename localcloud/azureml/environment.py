"""
The environment that steers an unmodified client here: what it must hold, what it must not hold, and the file that a shell reads.

Nothing but the environment is needed: the SDK asks ARM_CLOUD_METADATA_URL for its cloud, IDENTITY_ENDPOINT for its tokens, and trusts
REQUESTS_CA_BUNDLE. Whatever else would be obeyed before these is unset. What a person had set in NO_PROXY is kept.
"""

from __future__ import annotations

import netrc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localcloud.azureml.site import Site

LOCAL = ("localhost", "127.0.0.1")
CLOUD = "LocalCloud"  # its name in its own metadata
# Every variable that azure-identity 1.27, azure-core 1.41 or azure-ai-ml 1.35 reads and that would lead away from here.
RIVALS = (
    # another identity: a service principal, a user, a workload, a tenant
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN",
    "AZURE_USERNAME",
    "AZURE_PASSWORD",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_KUBERNETES_CA_DATA",
    "AZURE_KUBERNETES_CA_FILE",
    "AZURE_KUBERNETES_SNI_NAME",
    "AZURE_KUBERNETES_TOKEN_PROXY",
    # another managed identity than App Service's, which we play: Service Fabric, Arc, Azure ML, Cloud Shell, a pod
    "IDENTITY_SERVER_THUMBPRINT",
    "IMDS_ENDPOINT",
    "MSI_ENDPOINT",
    "MSI_SECRET",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    # another authority
    "AZURE_AUTHORITY_HOST",
    "AZURE_REGIONAL_AUTHORITY_NAME",
    "AZURE_IDENTITY_DISABLE_MULTITENANTAUTH",
    # another cloud
    "AZUREML_DEV_URL_MFE",
    "AZURE_SDK_CLOUD_CONF",
    "REGISTRY_DISCOVERY_ENDPOINT_REGION",
)


def values(site: Site, bundle: Path, before: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables by name. `before` is the environment that the client would have otherwise; nothing is changed in it."""
    direct = ",".join(_direct(before))
    return {
        "ARM_CLOUD_METADATA_URL": f"{site.base}/metadata/endpoints?api-version=2019-05-01",  # must begin with the cloud's own address
        "AZUREML_CURRENT_CLOUD": CLOUD,  # without it azure-ai-ml 1.8.0 takes the public cloud, and 1.35 does where no metadata answer
        "REGISTRY_DISCOVERY_ENDPOINT_URL": f"{site.base}/",
        "REQUESTS_CA_BUNDLE": str(bundle),
        "CURL_CA_BUNDLE": str(bundle),  # requests reads it second, curl first
        "SSL_CERT_FILE": str(bundle),  # clients that leave trust to OpenSSL
        "IDENTITY_ENDPOINT": f"{site.base}/msi/token",
        "IDENTITY_HEADER": "local",
        "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        "AZURE_SUBSCRIPTION_ID": site.subscription,
        "AZURE_RESOURCE_GROUP": site.group,
        "AZUREML_WORKSPACE": site.workspace,
        "AZUREML_REGISTRY": site.registry,
        "NO_PROXY": direct,
        "no_proxy": direct,
        **_without_passwords(before),
    }


def text(exported: Mapping[str, str]) -> str:
    """Return the file's content: lines `export NAME='value'` and `unset NAME`, as POSIX shells read them."""
    lines = [f"unset {name}" for name in RIVALS]
    lines += [f"export {name}={quoted(value)}" for name, value in exported.items()]
    return "\n".join(lines) + "\n"


def write(path: Path, site: Site, bundle: Path, before: Mapping[str, str] = os.environ) -> None:
    """Let the file appear whole; whoever waits for it never reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.write_text(text(values(site, bundle, before)), encoding="utf-8")
    fresh.replace(path)


def quoted(value: str) -> str:
    """Return the value in single quotes; a shell reads nothing into them but their end."""
    return "'" + value.replace("'", "'\\''") + "'"


def _direct(before: Mapping[str, str]) -> list[str]:
    """Return the hosts that are asked without a proxy: ours, then those that either spelling of the variable names."""
    given = ",".join(before.get(name, "") for name in ("NO_PROXY", "no_proxy"))
    return list(dict.fromkeys([*LOCAL, *filter(None, (host.strip() for host in given.split(",")))]))


def _without_passwords(before: Mapping[str, str]) -> dict[str, str]:
    """
    Return NETRC as no file, if the one in use has an entry for this machine or for all: requests puts it in the place of the SDK's token.

    A file without such an entry stays in use, for whoever else in that shell needs it.
    """
    if before.get("NETRC") == os.devnull:  # steered here already
        return {"NETRC": os.devnull}
    file = Path(before.get("NETRC") or Path(before.get("HOME") or os.devnull) / ".netrc")
    try:
        entries = netrc.netrc(file)
    except (OSError, netrc.NetrcParseError):  # requests goes on without it as well
        return {}
    return {"NETRC": os.devnull} if any(entries.authenticators(host) for host in LOCAL) else {}
