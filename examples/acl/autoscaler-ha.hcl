# The least that the Nomad Autoscaler's own token needs where several elect one (`high_availability`): it stands
# in the place of autoscaler.hcl. `nomad acl policy apply lamplighter-autoscaler autoscaler-ha.hcl`.
# Without the rule for its lock the host says "locks: Unexpected response code: 403 (Permission denied)" and ends; it
# names neither the variable nor the capability.

# As in autoscaler.hcl.
node {
  policy = "read"
}

# As in autoscaler.hcl.
namespace "*" {
  capabilities = ["list-scaling-policies", "read-scaling-policy", "read-job"]
}

# The lock: `lock_namespace` and `lock_path` of the host's `high_availability` block. This block replaces that
# for "*" in its namespace, so it repeats the capabilities.
namespace "default" {
  capabilities = ["list-scaling-policies", "read-scaling-policy", "read-job"]

  variables {
    path "nomad-autoscaler/lock" {
      capabilities = ["write"]
    }
  }
}
