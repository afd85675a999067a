"""Pictures and pages of what a run learned, and of what a data set holds."""
