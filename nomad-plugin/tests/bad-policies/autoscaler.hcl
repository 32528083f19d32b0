apm "lamplighter" {
  driver = "lamplighter"
  args   = ["target"]
}

target "racks" {
  driver = "lamplighter"
  args   = ["target"]

  config = {
    agent      = "unix:/run/lamplighter/agent.sock"
    agents     = "tcp:10.0.0.1"
    heartbeat  = "1ms"
    record_dir = "/var/lib/lamplighter"
    metrics    = "0.0.0.0:9465"
  }
}

strategy "lamplighter" {
  driver = "lamplighter"
  args   = ["strategy"]
}

# Its policies are reached by the label, so this one is of nobody known.
scaling "rack" {
  enabled = true
  max     = 4

  policy {
    check "waiting" {
      source = "lamplighter"
      query  = "pending rack"
      strategy "pass-through" {}
    }

    target "rack" {
      pool = "rack"
    }
  }
}
