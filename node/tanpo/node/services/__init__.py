"""The gRPC services of a node: they convert between protobuf and the core, and decide nothing."""
