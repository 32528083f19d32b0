# Work that waits lights the machines that it fits on; without work the rack goes dark.
scaling "rack" {
  enabled = true
  min     = 0
  max     = 4

  policy {
    cooldown            = "10s"
    evaluation_interval = "10s"

    check "waiting" {
      source = "lamplighter"
      query  = "pending rack"
      strategy "pass-through" {}
    }

    target "lamplighter" {
      pool = "rack"
    }
  }
}
