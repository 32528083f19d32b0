# The least that an agent's token needs in Nomad: `nomad acl policy apply lamplighter-agent agent.hcl`.

# A person's `off` and `cycle` drain the node; where they give up, it is made as it was. Read: whether it is down.
node {
  policy = "write"
}

# Whether the node is empty: work that the token does not see is no proof that there is none.
namespace "*" {
  capabilities = ["read-job"]
}
