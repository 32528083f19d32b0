scaling "rack" {
  enabled = true
  min     = 1
  max     = 4

  policy {
    check "fixed" {
      source = "lamplighter"
      strategy "fixed-value" { value = 2 }
    }

    check "waiting" {
      source = "lamplighter"
      strategy "pass-through" {}
    }

    target "lamplighter" {
      pool = "rack"
    }
  }
}
