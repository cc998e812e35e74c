"""What a benchmark found: figures, tables and pictures, with what is needed to get them again.

result = Result("panel", "duplex bench panel --seeds 5", figures)
result.save(folder)          # panel.json, and a .svg for each picture
"""
