scaling "day" {
  enabled = true
  min     = 0
  max     = 4

  policy {
    cooldown            = "1m"
    evaluation_interval = "10s"

    check "waiting" {
      source = "lamplighter"
      query  = "pending rack"
      strategy "pass-through" {}
    }

    target "lamplighter" {
      pool            = "rack"
      demand          = "day"
      node_class      = "sbc"
      scale_in_window = "5m"
    }
  }
}

scaling "night" {
  enabled = true
  min     = 0
  max     = 4

  policy {
    cooldown            = "1m"
    evaluation_interval = "10s"

    check "waiting" {
      source = "lamplighter"
      query  = "pending rack"
      strategy "pass-through" {}
    }

    target "lamplighter" {
      pool            = "rack"
      demand          = "night"
      scale_in_window = "10m"
      drain_batch     = true
      node_selector_strategy = "empty"
    }
  }
}
