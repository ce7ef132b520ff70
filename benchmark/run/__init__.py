"""The command that runs suites: configuration, plan, execution, tables."""
