"""A page in the browser for folders of results: `chimap view`.

`catalogue` lists what there is, `volumes` packs one map for the page, `server` answers the page's requests on this
machine only. The slices are drawn by the report's ``planes.js``.
"""
