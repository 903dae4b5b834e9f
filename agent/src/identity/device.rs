//! Ids of GPUs as NVIDIA's device plugin gives them to the kubelet, made into the uuids that NVML has.

/// A GPU, or a part of one, that a container was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceUse {
    /// As NVML spells it.
    pub uuid: String,
    pub namespace: String,
    pub pod: String,
    pub container: String,
    /// `nvidia.com/gpu`, `nvidia.com/mig-1g.10gb`, ...
    pub resource: String,
}

const VENDOR: &str = "nvidia.com/";

/// Whether a resource is one of NVIDIA's.
pub fn is_gpu(resource: &str) -> bool {
    resource.starts_with(VENDOR)
}

/// The uuid in a device's id; `None` if it has none: `GPU-uuid`, `MIG-uuid`, before driver 470 `MIG-GPU-uuid/gi/ci`, and
/// each of these with the number of a replica behind it, `::3`, where a GPU is shared.
pub fn uuid(id: &str) -> Option<&str> {
    let uuid = id.split("::").next().unwrap_or(id);
    let digits = match uuid.strip_prefix("MIG-GPU-") {
        Some(rest) => {
            let mut parts = rest.split('/');
            let digits = parts.next()?;
            let numbers = parts.all(|part| part.parse::<u32>().is_ok());
            (numbers && rest.matches('/').count() == 2).then_some(digits)?
        }
        None => uuid.strip_prefix("GPU-").or_else(|| uuid.strip_prefix("MIG-"))?,
    };
    let is_uuid = digits.len() == 36 && digits.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    is_uuid.then_some(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_every_form() {
        let uuid_of = |prefix: &str, suffix: &str| format!("{prefix}5c89852c-d268-c3f3-1b07-005d5ae1dc3f{suffix}");
        for (prefix, end, replica) in
            [("GPU-", "", ""), ("GPU-", "", "::12"), ("MIG-", "", ""), ("MIG-", "", "::0"), ("MIG-GPU-", "/1/0", "")]
        {
            let id = uuid_of(prefix, &format!("{end}{replica}"));
            assert_eq!(uuid(&id), Some(uuid_of(prefix, end).as_str()), "{id}");
        }
        for id in ["", "0", "nvidia0", "nvidia0/gi1", "GPU-", "MIG-", "tegra", "GPU-x::1", "::", "MIG-GPU-"] {
            assert_eq!(uuid(id), None, "{id}");
        }
        for suffix in ["/1", "/1/x", "/1/0/0"] {
            assert_eq!(uuid(&uuid_of("MIG-GPU-", suffix)), None, "{suffix}");
        }
        assert!(is_gpu("nvidia.com/gpu") && is_gpu("nvidia.com/mig-1g.10gb") && !is_gpu("amd.com/gpu"));
    }
}
