# The least that the plugin's token needs in Nomad: `nomad acl policy apply lamplighter-plugin plugin.hcl`.
# A block for one namespace replaces that for "*" there: whoever adds one repeats the capabilities in it.

# Scale-in makes a node ineligible, drains it, and takes both back where it gives up; it reads how nodes stand.
node {
  policy = "write"
}

# read-job: allocations, evaluations and jobs. Work that the token does not see is neither waited for nor lit for.
# list-jobs: system jobs, which take room on every machine that is lit. Only the apm needs it.
namespace "*" {
  capabilities = ["read-job", "list-jobs"]
}

# Where the pools' records stand: the autoscaler's namespace, and the plugin block's `record_path`.
namespace "default" {
  capabilities = ["read-job", "list-jobs"]

  variables {
    path "lamplighter/pools/*" {
      capabilities = ["read", "write"]
    }
  }
}
