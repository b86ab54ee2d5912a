"""The HTML report: figures, tables, interactive viewer."""
