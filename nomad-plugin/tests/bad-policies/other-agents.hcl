apm "lamplighter" {
  driver = "lamplighter"
  args   = ["apm"]
}

target "lamplighter" {
  driver = "lamplighter"
  args   = ["target"]
  config = { agents = "unix:/run/other.sock" }
}
