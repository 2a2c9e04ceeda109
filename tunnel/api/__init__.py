"""The REST interface, for programs and for `yumna`. docs/rest.md describes it, `schema/` says it exactly."""
