# Two policies on one pool: each names its demand, and the larger wins.

# Work that fits on no machine that is on.
scaling "shelf-work" {
  enabled = true
  min     = 1
  max     = 8

  policy {
    cooldown            = "10s"
    evaluation_interval = "10s"

    check "waiting" {
      source = "lamplighter"
      query  = "pending shelf"
      strategy "pass-through" {}
    }

    target "lamplighter" {
      pool       = "shelf"
      demand     = "work"
      node_class = "shelf"
    }
  }
}

# Room ahead of it: at most 70 percent of the CPU that is on is given away.
scaling "shelf-room" {
  enabled = true
  min     = 1
  max     = 8

  policy {
    cooldown            = "2m"
    evaluation_interval = "10s"

    check "cpu" {
      source = "nomad-apm"
      query  = "node_percentage-allocated_cpu/shelf/class"
      strategy "target-value" {
        target = 70
      }
    }

    target "lamplighter" {
      pool           = "shelf"
      demand         = "room"
      node_class     = "shelf"
      while_starting = "wait"
    }
  }
}
