# The least that the Nomad Autoscaler's own token needs beside the plugin, whose token is named by
# `nomad_token_file` in the plugin's blocks. `nomad acl policy apply lamplighter-autoscaler autoscaler.hcl`.

# Its own `nomad-apm` reads nodes and what is placed on them; leave this out where no policy asks it.
node {
  policy = "read"
}

# list-scaling-policies, read-scaling-policy: policies that stand in jobs; leave them out where `policy` turns
# the source "nomad" off. read-job: as above, for `nomad-apm`.
namespace "*" {
  capabilities = ["list-scaling-policies", "read-scaling-policy", "read-job"]
}

# Where several autoscalers elect one (`high_availability`), autoscaler-ha.hcl stands in the place of this file.
