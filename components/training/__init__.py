"""What components that train share: constructor, spec, executor."""
