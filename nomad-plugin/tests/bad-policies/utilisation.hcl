scaling "rack" {
  enabled = true
  min     = 0
  max     = 4

  policy {
    cooldown            = "1m"
    evaluation_interval = "10s"

    check "waiting" {
      
      query  = "percentage-allocated_cpu"
      strategy "target-value" { target = 70 }
    }

    target "lamplighter" {
      pool = "rack"
    }
  }
}
